//! The health of an object in a word, from its conditions.

use grapnel_api::Reason;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use maud::{Markup, html};

use super::text;

/// How good it is. The order is that in which people want to see them: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Bad,
    Warning,
    Idle,
    Good,
}

/// The health of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) level: Level,
    /// A reason of a condition.
    word: String,
    /// What is wrong and what to do; empty if nothing is.
    message: String,
}

impl Health {
    /// The health that conditions tell.
    pub(super) fn of(conditions: &[Condition]) -> Self {
        let find = |kind: &str, status: &str| conditions.iter().find(|it| it.type_ == kind && it.status == status);
        let told = |level, condition: &Condition| Self {
            level,
            word: condition.reason.clone(),
            message: condition.message.clone(),
        };
        if let Some(suspended) = find("Suspended", "True") {
            return told(Level::Idle, suspended);
        }
        let mut failing = ["Ready", "Storing", "Delivering"].iter().filter_map(|kind| find(kind, "False"));
        // A subscription in mode Shadow is as its spec says.
        if let Some(failing) = failing.find(|it| it.reason != Reason::Shadow.as_str()) {
            return told(Level::Bad, failing);
        }
        if let Some(shadow) = find("Delivering", "False") {
            return told(Level::Idle, shadow);
        }
        if let Some(remark) = ["Contested", "Unauthenticated"].iter().find_map(|kind| find(kind, "True")) {
            return told(Level::Warning, remark);
        }
        if let Some(unknown) = ["Ready", "Delivering"].iter().find_map(|kind| find(kind, "Unknown")) {
            return told(Level::Idle, unknown);
        }
        match find("Delivering", "True").or_else(|| find("Ready", "True")) {
            Some(good) => Self { level: Level::Good, word: good.reason.clone(), message: String::new() },
            None => Self { level: Level::Idle, word: "Unknown".into(), message: String::new() },
        }
    }

    /// The state of a replay that conditions tell.
    pub(super) fn of_replay(conditions: &[Condition]) -> Self {
        let find = |kind: &str| conditions.iter().find(|it| it.type_ == kind && it.status == "True");
        let waiting = || conditions.iter().find(|it| it.type_ == "Complete");
        let (level, told) = match (find("Failed"), find("Complete")) {
            (Some(failed), _) => (Level::Bad, Some(failed)),
            (None, Some(complete)) => (Level::Good, Some(complete)),
            (None, None) => (Level::Idle, waiting()),
        };
        let (word, message) = told.map_or(("Unknown", ""), |it| (&it.reason, &it.message));
        Self { level, word: word.into(), message: message.into() }
    }

    /// The word with its level, which is not told by colour alone.
    pub(super) fn badge(&self) -> Markup {
        badge(self.level, &self.word)
    }

    /// What is wrong, unless nothing is.
    pub(super) fn notice(&self) -> Markup {
        let class = match self.level {
            Level::Bad => "problem",
            Level::Warning | Level::Idle | Level::Good => "remark",
        };
        html! { @if !self.message.is_empty() { p class=(class) { (text::inline(&self.message)) } } }
    }
}

/// A word with a level.
pub(super) fn badge(level: Level, word: &str) -> Markup {
    let (class, sign) = match level {
        Level::Bad => ("bad", "✗"),
        Level::Warning => ("warning", "!"),
        Level::Idle => ("idle", "–"),
        Level::Good => ("good", "✓"),
    };
    html! { span class={ "badge " (class) } { span aria-hidden="true" { (sign) " " } (word) } }
}

/// The conditions of an object.
pub(super) fn conditions(conditions: &[Condition], now: jiff::Timestamp) -> Markup {
    super::layout::table(
        "Conditions",
        &["Condition", "Status", "Reason", "Since", "Message"],
        html! {
            @for condition in conditions {
                tr {
                    th scope="row" { (condition.type_) }
                    td { (condition.status) }
                    td { (condition.reason) }
                    td { (text::ago(condition.last_transition_time.0, now)) }
                    td.wide { (text::inline(&condition.message)) }
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn health(conditions: &[(&str, &str, &str)]) -> (Level, String) {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(kind, status, reason)| Condition {
                type_: (*kind).into(),
                status: (*status).into(),
                reason: (*reason).into(),
                message: "m".into(),
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
                observed_generation: None,
            })
            .collect();
        let Health { level, word, .. } = Health::of(&conditions);
        (level, word)
    }

    #[test]
    fn the_worst_condition_is_told() {
        let ready = ("Ready", "True", "Programmed");
        assert_eq!(health(&[ready]), (Level::Good, "Programmed".into()));
        assert_eq!(health(&[ready, ("Delivering", "True", "Succeeding")]), (Level::Good, "Succeeding".into()));
        assert_eq!(health(&[ready, ("Delivering", "False", "CircuitOpen")]), (Level::Bad, "CircuitOpen".into()));
        assert_eq!(health(&[ready, ("Delivering", "Unknown", "NotAttempted")]), (Level::Idle, "NotAttempted".into()));
        assert_eq!(health(&[ready, ("Storing", "False", "ShareExhausted")]), (Level::Bad, "ShareExhausted".into()));
        let shadow = ("Delivering", "False", "Shadow");
        assert_eq!(health(&[ready, shadow]), (Level::Idle, "Shadow".into()));
        let not_ready = ("Ready", "False", "EndpointNotReady");
        assert_eq!(health(&[not_ready, shadow]), (Level::Bad, "EndpointNotReady".into()));
        assert_eq!(health(&[ready, ("Unauthenticated", "True", "x")]), (Level::Warning, "x".into()));
        let suspended = [ready, ("Delivering", "False", "Suspended"), ("Suspended", "True", "Suspended")];
        assert_eq!(health(&suspended), (Level::Idle, "Suspended".into()));
        assert_eq!(health(&[("Ready", "False", "SecretNotFound")]), (Level::Bad, "SecretNotFound".into()));
        assert_eq!(health(&[]), (Level::Idle, "Unknown".into()));
    }
}
