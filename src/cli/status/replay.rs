//! Rows of replays.

use grapnel_api::ConditionType;
use grapnel_values::age;
use jiff::Timestamp;

use crate::{admin::contract::ReplayItem, cli::print::or_dash};

pub(super) fn titles(wide: bool) -> Vec<&'static str> {
    let titles = ["REPLAY", "SUBSCRIPTION", "COMPLETE", "MATCHED", "QUEUED", "DELIVERED", "FAILED", "STARTED"];
    let more: &[&str] = if wide { &["SKIPPED", "GONE", "FILTER-ERRORS", "SOURCE"] } else { &[] };
    titles.iter().chain(more).copied().collect()
}

pub(super) fn cells(item: &ReplayItem, now: Timestamp, wide: bool) -> Vec<String> {
    let status = &item.status;
    let mut cells = vec![
        format!("{}/{}", item.namespace, item.name),
        or_dash(item.subscription.as_ref()),
        complete(item),
        or_dash(status.matched),
        or_dash(status.queued),
        or_dash(status.delivered),
        or_dash(status.failed),
        or_dash(status.start_time.as_ref().map(|time| age::since(time.0, now))),
    ];
    if wide {
        cells.extend([status.skipped, status.gone, status.filter_errors].map(or_dash));
        cells.push(or_dash(item.source.as_ref()));
    }
    cells
}

/// Whether a replay is complete, if not, why in one word, and whether it is a dry run.
fn complete(item: &ReplayItem) -> String {
    let kind = ConditionType::Complete.as_str();
    match item.status.conditions.iter().find(|condition| condition.type_ == kind) {
        Some(complete) => {
            let reason = Some(&*complete.reason).filter(|_| complete.status != "True");
            let notes: Vec<_> = reason.into_iter().chain(item.dry_run.then_some("dry run")).collect();
            match notes.is_empty() {
                true => complete.status.clone(),
                false => format!("{} ({})", complete.status, notes.join(", ")),
            }
        }
        None => "Unknown".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replay_is_complete_or_says_why_not() {
        let condition = |status: &str, reason: &str| {
            json!({
                "type": "Complete", "status": status, "reason": reason, "message": "m",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            })
        };
        let row_of = |dry_run: bool, conditions: &[serde_json::Value]| {
            let item = json!({
                "namespace": "shop", "name": "again", "subscription": "billing", "dryRun": dry_run,
                "status": {
                    "matched": 5, "queued": 4, "delivered": 3, "failed": 1, "startTime": "2026-01-31T11:55:00Z",
                    "conditions": conditions,
                },
            });
            let now = "2026-01-31T12:00:00Z".parse().unwrap();
            let item = serde_json::from_value(item).unwrap();
            assert_eq!(cells(&item, now, true).len(), titles(true).len());
            cells(&item, now, false)
        };
        let row = |conditions: &[serde_json::Value]| row_of(false, conditions);
        let expected = ["shop/again", "billing", "True", "5", "4", "3", "1", "5m"];
        assert_eq!(row(&[condition("True", "Completed")]), expected);
        assert_eq!(titles(false).len(), expected.len());
        assert_eq!(row(&[condition("False", "Suspended")])[2], "False (Suspended)");
        assert_eq!(row(&[])[2], "Unknown");
        assert_eq!(row_of(true, &[condition("True", "Completed")])[2], "True (dry run)");
        assert_eq!(row_of(true, &[condition("False", "Progressing")])[2], "False (Progressing, dry run)");
    }
}
