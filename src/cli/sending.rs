//! Whether the events of a subscription are sent now, as a sentence.

use jiff::Timestamp;

use crate::admin::contract::{CircuitName, Sending};
use grapnel_values::age;

impl Sending {
    /// Whether the circuit is open.
    pub(super) fn is_open(&self) -> bool {
        self.circuit == Some(CircuitName::Open)
    }

    /// The end of the pause that the receiver has asked for, if nothing holds for longer.
    pub(super) fn asked_pause(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.paused_until.filter(|until| *until > now)?;
        let probe = self.next_probe_time.filter(|_| self.is_open());
        Some(until).filter(|until| probe.is_none_or(|probe| probe <= *until))
    }

    /// Why nothing is sent now; `None` if events are sent, or that is not known.
    pub(super) fn pause(&self, now: Timestamp) -> Option<String> {
        if self.suspended == Some(true) {
            return Some("paused (suspended)".into());
        }
        if self.mode.is_some() {
            return None;
        }
        if let Some(until) = self.asked_pause(now) {
            return Some(format!("paused (Retry-After until {until:.0})"));
        }
        let until = self.next_probe_time.filter(|time| *time > now);
        let until = until.map_or_else(String::new, |time| format!(" until {time:.0}"));
        self.is_open().then(|| format!("paused (circuit open{until})"))
    }

    /// What happens to events that are due: the end of a sentence. `probed` is whether a probe was requested.
    pub(super) fn then(&self, probed: bool, now: Timestamp) -> Option<String> {
        if self.suspended == Some(true) {
            return Some("the subscription is suspended: nothing is sent until spec.suspend is false".into());
        }
        if self.mode.is_some() {
            return Some("spec.mode is Shadow: nothing is sent, and the events are settled as skipped".into());
        }
        if !self.is_open() {
            return self.then_after_pause(probed, now);
        }
        if probed {
            return Some("the circuit was open: the receiver is probed with one event".into());
        }
        let when = match self.next_probe_time.filter(|time| *time > now) {
            Some(time) => format!("nothing is sent before the next probe in {}", age::until(time, now)),
            None => "nothing but a probe is sent until one succeeds".to_owned(),
        };
        Some(format!("the circuit is open: {when}; add --now to probe at once, or use grapnel resume"))
    }

    /// The same for the pause that the receiver has asked for.
    fn then_after_pause(&self, ended: bool, now: Timestamp) -> Option<String> {
        let until = self.asked_pause(now)?;
        Some(match ended {
            true => "the pause of Retry-After ends now".into(),
            false => format!(
                "the receiver responded with Retry-After: nothing is sent for {}; add --now to send at once, or use \
                 grapnel resume",
                age::until(until, now)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pause_has_a_reason_and_an_end() {
        let now: Timestamp = "2026-01-31T12:00:00.5Z".parse().unwrap();
        let open = Sending {
            suspended: Some(false),
            mode: None,
            circuit: Some(CircuitName::Open),
            next_probe_time: Some(now + Duration::from_secs(150)),
            paused_until: None,
        };
        assert_eq!(open.pause(now).unwrap(), "paused (circuit open until 2026-01-31T12:02:30Z)");
        assert_eq!(open.pause(now + Duration::from_secs(200)).unwrap(), "paused (circuit open)", "a probe is due");
        let sentence = open.then(false, now).unwrap();
        assert!(sentence.contains("next probe in 2m30s") && sentence.contains("--now"), "{sentence}");
        assert!(open.then(false, now + Duration::from_secs(200)).unwrap().contains("until one succeeds"));
        assert!(open.then(true, now).unwrap().starts_with("the circuit was open"));
        let suspended = Sending { suspended: Some(true), ..open };
        assert_eq!(suspended.pause(now).unwrap(), "paused (suspended)");
        assert!(suspended.then(true, now).unwrap().contains("spec.suspend"));
        let closed = Sending { circuit: Some(CircuitName::Closed), suspended: Some(false), ..Sending::default() };
        assert_eq!((closed.pause(now), closed.then(false, now)), (None, None));
        let asked = Sending { paused_until: Some(now + Duration::from_secs(90)), ..closed };
        assert_eq!(asked.pause(now).unwrap(), "paused (Retry-After until 2026-01-31T12:01:30Z)");
        assert_eq!(asked.pause(now + Duration::from_secs(90)), None, "it is over");
        assert!(asked.then(false, now).unwrap().contains("nothing is sent for 90s"), "{:?}", asked.then(false, now));
        assert!(asked.then(true, now).unwrap().contains("ends now"));
        assert_eq!(Sending::default().then(true, now), None, "delivered elsewhere");
        let shadow = Sending { mode: Some(grapnel_api::DeliveryMode::Shadow), ..closed };
        assert!(shadow.then(true, now).unwrap().contains("nothing is sent"));
        assert_eq!(shadow.pause(now), None, "events do not wait");
    }
}
