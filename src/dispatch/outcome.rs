//! Classifies the end of an attempt. Pure.

use std::time::Duration;

use grapnel_delivery::retry::{RetryPolicy, retry_after};
use grapnel_journal::{Exchange, Failure, Settlement, limits::FAILURE_MESSAGE_BYTES};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};

use super::{attempt_error::AttemptError, client::ReceiverResponse};

/// Outcome label of a successful attempt.
pub const DELIVERED: &str = "delivered";

/// Outcome label of an attempt with a response other than 2xx.
pub const STATUS: &str = "status";

/// The outcome of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptOutcome {
    /// `delivered` or the reason of the failure: the label of metrics.
    pub label: &'static str,
    /// The response status, if there was a response.
    pub status: Option<StatusCode>,
    /// Whether the receiver is permanently gone.
    pub gone: bool,
    /// Whether the request was sent to the receiver.
    pub contacted: bool,
    /// How long the receiver has asked to be left alone, up to the policy's longest delay.
    pub pause: Option<Duration>,
    /// The settlement for the journal.
    pub settlement: Settlement,
}

impl AttemptOutcome {
    /// When the event is retried, if it is.
    pub fn next_attempt(&self) -> Option<Timestamp> {
        match &self.settlement {
            Settlement::Retry { due, .. } => Some(*due),
            _ => None,
        }
    }

    /// Whether it counts as a failure of the receiver: see [`grapnel_delivery::breaker`].
    pub fn counts_as_failure(&self) -> bool {
        self.failure().is_some() && !self.gone && self.contacted
    }

    /// The failure, if the attempt failed.
    pub fn failure(&self) -> Option<&Failure> {
        self.settlement.failure()
    }
}

/// Classifies the end of attempt number `attempt` at `now`, which took `took`. `entropy` is between 0 and 1 and spreads
/// the delay.
///
/// 2xx is a success. A status of the policy's `stop_on` ends the event at once. With 429 and 503 a `Retry-After` (RFC
/// 9110 §10.2.3) lengthens the delay, up to the policy's longest, and asks for a pause as long. Everything else, including redirects, is retried
/// until the attempts are exhausted.
pub fn classify(
    policy: &RetryPolicy,
    attempt: u32,
    answer: &Result<ReceiverResponse, AttemptError>,
    now: Timestamp,
    took: Duration,
    entropy: f64,
) -> AttemptOutcome {
    let (label, status, message) = match answer {
        Ok(response) if response.status.is_success() => {
            return AttemptOutcome {
                label: DELIVERED,
                status: Some(response.status),
                gone: false,
                contacted: true,
                pause: None,
                settlement: Settlement::Delivered(Exchange { time: now, status: Some(response.status.as_u16()), took }),
            };
        }
        Ok(response) => (STATUS, Some(response.status), describe(response)),
        Err(error) => (error.reason(), None, error.to_string()),
    };
    let failure = Failure {
        time: now,
        reason: label.into(),
        status: status.map(|status| status.as_u16()),
        took,
        message: bounded(&message).into(),
    };
    let gone = status.is_some_and(|status| policy.stops_on(status.as_u16()));
    let delay = if gone { None } else { policy.delay(attempt, entropy) };
    let pause =
        requested_delay(answer, now).map(|contacted| contacted.min(policy.max_delay)).filter(|pause| !pause.is_zero());
    let settlement = match delay {
        None => Settlement::Dead { failure },
        Some(backoff) => {
            let delay = SignedDuration::try_from(backoff.max(pause.unwrap_or_default())).unwrap_or(SignedDuration::MAX);
            Settlement::Retry { due: now.checked_add(delay).unwrap_or(Timestamp::MAX), failure }
        }
    };
    let contacted = !answer.as_ref().is_err_and(AttemptError::is_own);
    AttemptOutcome { label, status, gone, contacted, pause, settlement }
}

/// The delay that the receiver requested by `Retry-After`.
fn requested_delay(answer: &Result<ReceiverResponse, AttemptError>, now: Timestamp) -> Option<Duration> {
    let response = answer.as_ref().ok()?;
    match response.status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            retry_after(response.retry_after.as_deref()?, now)
        }
        _ => None,
    }
}

fn describe(response: &ReceiverResponse) -> String {
    let status = response.status;
    let mut message = match status.canonical_reason() {
        Some(reason) => format!("the target responded with {} {reason}", status.as_u16()),
        None => format!("the target responded with {}", status.as_u16()),
    };
    if status.is_redirection() {
        message.push_str("; redirects are not followed; set the target to the final URL");
    }
    let body = printable(&response.body_start);
    if !body.is_empty() {
        message.push_str(": ");
        message.push_str(&body);
    }
    message
}

/// Makes text printable: line breaks and tabs become spaces, other control characters are removed, and blanks at the
/// ends are trimmed.
fn printable(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes)
        .chars()
        .filter_map(|character| match character {
            '\n' | '\r' | '\t' => Some(' '),
            // Characters that reorder or hide text on a terminal are not in the category of control characters.
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => None,
            character if character.is_control() => None,
            character => Some(character),
        })
        .collect();
    text.trim().to_owned()
}

/// Truncates a message to the bound, at a character boundary.
pub(super) fn bounded(message: &str) -> &str {
    // A character has at most four bytes, so one of the last four positions is a boundary.
    let end = (0..=FAILURE_MESSAGE_BYTES).rev().find(|&end| message.is_char_boundary(end)).unwrap_or_default();
    if message.len() <= FAILURE_MESSAGE_BYTES { message } else { message.get(..end).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use grapnel_delivery::retry::RetryJitter;
    use grapnel_expression::ExpressionError;
    use proptest::prelude::*;

    use super::*;
    use crate::dispatch::{body::BuildError, filter::FilterError, send_error::SendError};

    const TOOK: Duration = Duration::from_millis(42);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            initial: Duration::from_secs(1),
            multiplier: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: RetryJitter::None,
            stop_on: vec![410],
        }
    }

    fn answered(status: u16, retry_after: Option<&str>, body: &'static [u8]) -> Result<ReceiverResponse, AttemptError> {
        Ok(ReceiverResponse {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: retry_after.map(str::to_owned),
            body_start: Bytes::from_static(body),
        })
    }

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn delay(outcome: &AttemptOutcome) -> Option<Duration> {
        outcome.next_attempt().map(|due| Duration::try_from(due.duration_since(now())).unwrap())
    }

    fn classify_now(attempt: u32, answer: &Result<ReceiverResponse, AttemptError>) -> AttemptOutcome {
        classify(&policy(), attempt, answer, now(), TOOK, 0.5)
    }

    fn no_key() -> ExpressionError {
        ExpressionError { line: 1, column: 9, message: "no such key `a`".into() }
    }

    #[test]
    fn every_2xx_is_a_success() {
        for status in [200, 201, 202, 204, 299] {
            let outcome = classify_now(3, &answered(status, None, b"never mind"));
            let exchange = Exchange { time: now(), status: Some(status), took: TOOK };
            assert_eq!(outcome.settlement, Settlement::Delivered(exchange));
            assert_eq!((outcome.label, outcome.counts_as_failure()), ("delivered", false));
        }
    }

    #[test]
    fn failures_are_tried_again_until_attempts_are_exhausted() {
        let answer = answered(500, None, b"");
        assert_eq!(delay(&classify_now(1, &answer)), Some(Duration::from_secs(1)));
        assert_eq!(delay(&classify_now(2, &answer)), Some(Duration::from_secs(2)));
        let last = classify_now(3, &answer);
        assert!(matches!(last.settlement, Settlement::Dead { .. }) && !last.gone && last.counts_as_failure());
        let failure = last.failure().unwrap();
        assert_eq!((&*failure.reason, failure.status, failure.time), ("status", Some(500), now()));
        assert_eq!(failure.took, TOOK);
        assert_eq!(&*failure.message, "the target responded with 500 Internal Server Error");
    }

    #[test]
    fn redirects_are_failures_that_say_so() {
        for status in [301, 302, 303, 304, 307, 308] {
            let outcome = classify_now(1, &answered(status, None, b""));
            assert_eq!(delay(&outcome), Some(Duration::from_secs(1)), "{status}");
            assert!(outcome.failure().unwrap().message.contains("redirects are not followed"));
        }
    }

    #[test]
    fn gone_ends_at_once() {
        let outcome = classify_now(1, &answered(410, Some("5"), b""));
        assert!(matches!(outcome.settlement, Settlement::Dead { .. }) && outcome.gone);
        assert!(!outcome.counts_as_failure(), "the receiver works, and has had its last word on this event");
    }

    #[test]
    fn retry_after_lengthens_the_delay_up_to_the_longest() {
        for (status, header, attempt, seconds) in [
            (429, "7", 1, 7),
            (503, "7", 1, 7),
            (429, "1", 2, 2),
            (503, "3600", 1, 60),
            (503, "99999999999999999999999999", 1, 60),
            (503, "Sun, 01 Mar 2026 12:00:30 GMT", 1, 30),
            (503, "Sun, 01 Mar 2020 12:00:30 GMT", 1, 1),
            (429, "soon", 1, 1),
            (500, "7", 1, 1),
            (301, "7", 1, 1),
        ] {
            let outcome = classify_now(attempt, &answered(status, Some(header), b""));
            assert_eq!(delay(&outcome), Some(Duration::from_secs(seconds)), "{status} {header}");
        }
        for (status, header, pause) in
            [(429, "7", Some(7)), (503, "3600", Some(60)), (429, "0", None), (500, "7", None)]
        {
            let outcome = classify_now(1, &answered(status, Some(header), b""));
            assert_eq!(outcome.pause, pause.map(Duration::from_secs), "{status} {header}");
        }
        let last = classify_now(3, &answered(503, Some("7"), b""));
        assert!(matches!(last.settlement, Settlement::Dead { .. }), "no Retry-After adds an attempt");
        assert_eq!(last.pause, Some(Duration::from_secs(7)), "other events wait all the same");
    }

    #[test]
    fn reasons_of_errors_are_kept() {
        for (error, reason) in [
            (SendError::Timeout(Duration::from_secs(10)), "timeout"),
            (SendError::Dns("no such host".into()), "dns"),
            (SendError::Connect("refused".into()), "connect"),
            (SendError::Tls("unknown issuer".into()), "tls"),
            (SendError::Forbidden("10.0.0.1 is private".into()), "forbidden"),
            (SendError::Io("reset".into()), "io"),
        ]
        .map(|(error, reason)| (AttemptError::from(error), reason))
        .into_iter()
        .chain([
            (FilterError::Evaluation(no_key()).into(), "filter_failed"),
            (BuildError::Transform(no_key()).into(), "transform_failed"),
        ]) {
            let own = error.is_own();
            let outcome = classify_now(1, &Err(error));
            assert_eq!(outcome.counts_as_failure(), !own, "{reason}");
            assert_eq!(outcome.label, reason);
            assert_eq!(&*outcome.failure().unwrap().reason, reason);
            assert_eq!(delay(&outcome), Some(Duration::from_secs(1)));
        }
    }

    #[test]
    fn messages_hold_no_control_characters() {
        let outcome = classify_now(1, &answered(500, None, b"\x1b[31mno\r\n\tway\x00\xff\xe2\x80\xae!  "));
        let message = &outcome.failure().unwrap().message;
        assert_eq!(&**message, "the target responded with 500 Internal Server Error: [31mno   way\u{fffd}!");
    }

    proptest! {
        #[test]
        fn any_answer_is_classified_within_bounds(
            status in 100u16..1000,
            retry_after in proptest::option::of(".{0,40}"),
            body in proptest::collection::vec(any::<u8>(), 0..2048),
            attempt in 0u32..200,
            entropy in 0.0f64..=1.0,
        ) {
            let answer = Ok(ReceiverResponse {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after,
                body_start: Bytes::from(body),
            });
            let spread = RetryPolicy { jitter: RetryJitter::Full, ..policy() };
            let outcome = classify(&spread, attempt, &answer, now(), TOOK, entropy);
            if let Some(failure) = outcome.failure() {
                prop_assert!(failure.message.len() <= FAILURE_MESSAGE_BYTES);
                prop_assert!(!failure.message.chars().any(char::is_control));
            }
            prop_assert!(delay(&outcome).is_none_or(|delay| delay <= Duration::from_secs(60)));
            prop_assert!(outcome.pause.is_none_or(|pause| pause <= Duration::from_secs(60)));
            prop_assert_eq!(outcome.failure().is_none(), (200..300).contains(&status));
        }
    }
}
