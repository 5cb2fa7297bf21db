//! Lists in descending order, over a journal that lists in ascending order: windows of sequences are read from the
//! newest event backwards, each in ascending order.

use std::future::Future;

use grapnel_journal::Sequence;

use super::{contract::Page, read::Read, response::Problem};
use crate::admin::limits::ADMIN_WINDOW;

/// One ascending step of a list.
pub(super) struct ListStep<T> {
    /// The items found.
    pub(super) items: Vec<T>,
    /// Where the next step begins; `None` at the end of the list.
    pub(super) next: Option<Sequence>,
    /// Whether neither this step nor anything older can have an item that is wanted.
    pub(super) is_past: bool,
}

impl Read {
    /// Reads a page of at most `limit` items below the sequence `before`, newest first. `first_after` returns the lowest
    /// sequence of the log after a position, and `step` reads at most so many wanted items after a position.
    pub(super) async fn page_back<T, P, S>(
        &self,
        limit: usize,
        before: Option<Sequence>,
        first_after: impl Fn(Sequence) -> P,
        step: impl Fn(Sequence, usize) -> S,
        sequence: impl Fn(&T) -> Sequence,
    ) -> Result<Page<T>, Problem>
    where
        P: Future<Output = Result<Option<Sequence>, Problem>>,
        S: Future<Output = Result<ListStep<T>, Problem>>,
    {
        let Some(oldest) = first_after(0).await? else { return Ok(Page::of(Vec::new(), limit, None, sequence)) };
        let end = newest(oldest, first_after).await?.saturating_add(1);
        let mut high = before.unwrap_or(end).min(end);
        let mut items = Vec::new();
        let mut width = u64::try_from(limit).unwrap_or(ADMIN_WINDOW).clamp(1, ADMIN_WINDOW);
        while high > oldest && items.len() <= limit {
            let low = high.saturating_sub(width + 1);
            let (found, is_past) = window(low, high, &step, &sequence).await?;
            items.extend(found.into_iter().rev());
            high = if is_past { oldest } else { low + 1 };
            if self.is_over() {
                break;
            }
            width = (width * 2).min(ADMIN_WINDOW);
        }
        Ok(Page::of(items, limit, (high > oldest).then_some(high), sequence))
    }
}

/// The items with sequences between `low` and `high`, both excluded, ascending; and whether nothing older is wanted.
async fn window<T, S>(
    low: Sequence,
    high: Sequence,
    step: impl Fn(Sequence, usize) -> S,
    sequence: impl Fn(&T) -> Sequence,
) -> Result<(Vec<T>, bool), Problem>
where
    S: Future<Output = Result<ListStep<T>, Problem>>,
{
    let (mut items, mut after, mut is_past) = (Vec::new(), low, true);
    loop {
        let most = usize::try_from(high.saturating_sub(after)).unwrap_or(usize::MAX);
        let found = step(after, most).await?;
        is_past &= found.is_past;
        items.extend(found.items.into_iter().filter(|item| sequence(item) < high));
        match found.next {
            Some(next) if next.saturating_add(1) < high => after = next,
            _ => return Ok((items, is_past)),
        }
    }
}

/// The newest sequence of a log that begins with `oldest`, found by doubling and then halving a distance.
async fn newest<P>(oldest: Sequence, first_after: impl Fn(Sequence) -> P) -> Result<Sequence, Problem>
where
    P: Future<Output = Result<Option<Sequence>, Problem>>,
{
    let (mut low, mut distance) = (oldest, 1_u64);
    let mut high = loop {
        let probe = low.saturating_add(distance);
        match first_after(probe).await? {
            Some(found) => low = found,
            None => break probe,
        }
        distance = distance.saturating_mul(2);
    };
    while low < high {
        let middle = low + (high - low) / 2;
        match first_after(middle).await? {
            Some(found) => (low, high) = (found, high.max(found)),
            None => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    /// Reads a page of a log whose steps hold at most three items, wanting those that `wanted` accepts.
    async fn page(log: &[u64], limit: usize, before: Option<u64>, wanted: fn(u64) -> bool) -> (Vec<u64>, Option<u64>) {
        let after = |after| log.iter().copied().filter(move |sequence| *sequence > after);
        let first_after = |position| ready(Ok(after(position).next()));
        let step = |position, most: usize| {
            let rows: Vec<u64> = after(position).take(most.min(3)).collect();
            let next = rows.last().copied().filter(|last| after(*last).next().is_some());
            let items = rows.into_iter().filter(|row| wanted(*row)).collect();
            ready(Ok(ListStep { items, next, is_past: false }))
        };
        let page = Read::for_tests().page_back(limit, before, first_after, step, |item| *item).await.unwrap();
        (page.items, page.next.map(|next| next.parse().unwrap()))
    }

    #[tokio::test]
    async fn pages_go_backwards_over_gaps() {
        let log: Vec<u64> = [5, 6, 9, 10, 11, 40, 41, 42, 1000].into();
        assert_eq!(page(&log, 4, None, |_| true).await, (vec![1000, 42, 41, 40], Some(40)));
        assert_eq!(page(&log, 4, Some(40), |_| true).await, (vec![11, 10, 9, 6], Some(6)));
        assert_eq!(page(&log, 4, Some(6), |_| true).await, (vec![5], None));
        assert_eq!(page(&log, 9, None, |_| true).await.1, None);
        assert_eq!(page(&log, 4, Some(5), |_| true).await, (vec![], None));
        assert_eq!(page(&log, 2, Some(u64::MAX), |_| true).await.0, [1000, 42]);
        assert_eq!(page(&[], 4, None, |_| true).await, (vec![], None));
    }

    #[tokio::test]
    async fn rare_items_are_found_far_back() {
        let log: Vec<u64> = (1..=5000).collect();
        assert_eq!(page(&log, 2, None, |row| row % 2000 == 7).await, (vec![4007, 2007], Some(2007)));
        assert_eq!(page(&log, 5, None, |row| row % 2000 == 7).await, (vec![4007, 2007, 7], None));
        for end in 1..200_u64 {
            let log: Vec<u64> = (1..=end).collect();
            assert_eq!(page(&log, 1, None, |_| true).await.0, [end], "the newest is found");
        }
    }

    #[tokio::test]
    async fn a_step_that_is_past_ends_the_list() {
        let first_after = |position: u64| ready(Ok((position < 10_000).then(|| position + 1)));
        let step = |after: u64, most: usize| {
            let rows: Vec<u64> = (after + 1..).take(most.min(3)).take_while(|row| *row <= 10_000).collect();
            let next = rows.last().copied().filter(|last| *last < 10_000);
            let is_past = rows.iter().all(|row| *row < 9_000);
            assert!(after > 4_000, "it reads no further than it has to");
            ready(Ok(ListStep { items: rows.into_iter().filter(|row| *row > 9_998).collect(), next, is_past }))
        };
        let page = Read::for_tests().page_back(5, None, first_after, step, |item| *item).await.unwrap();
        assert_eq!((page.items, page.next), (vec![10_000, 9_999], None));
    }
}
