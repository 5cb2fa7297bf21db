//! Problems of an object: what is wrong, where, and what to do.

use std::fmt;

use grapnel_api::{ConditionType, Reason};

/// A problem of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// JSON Pointer (RFC 6901) into the object, such as `/spec/verification/hmac/header`.
    pub pointer: String,
    /// The reason of the condition.
    pub reason: Reason,
    /// A sentence that says what is wrong and what to do. Contains no secret value.
    pub message: String,
    /// Whether it is a problem of a ConfigMap, where the reason speaks of a Secret.
    pub of_config_map: bool,
}

impl Problem {
    /// A problem at a pointer.
    pub fn new(pointer: impl Into<String>, reason: Reason, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), reason, message: message.into(), of_config_map: false }
    }

    /// The condition that becomes `False`.
    pub fn condition(&self) -> ConditionType {
        match self.reason {
            Reason::SecretNotFound | Reason::KeyNotFound | Reason::InvalidSecret => ConditionType::SecretsResolved,
            _ => ConditionType::Accepted,
        }
    }

    /// The reason that names the kind of the referenced object, for `ReferencesResolved`.
    pub fn reference_reason(&self) -> Reason {
        match (self.reason, self.of_config_map) {
            (Reason::SecretNotFound, true) => Reason::ConfigMapNotFound,
            (Reason::KeyNotFound, true) => Reason::ConfigMapKeyNotFound,
            (Reason::KeyNotFound, false) => Reason::SecretKeyNotFound,
            (Reason::InvalidSecret, true) => Reason::InvalidConfigMap,
            (reason, _) => reason,
        }
    }

    /// The pointer in readable form: `spec.schemas[0].types`.
    pub fn field(&self) -> String {
        let mut field = String::new();
        for part in self.pointer.split('/').skip(1) {
            if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
                field.push('[');
                field.push_str(part);
                field.push(']');
            } else {
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(&part.replace("~1", "/").replace("~0", "~"));
            }
        }
        field
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = self.field();
        if field.is_empty() { f.write_str(&self.message) } else { write!(f, "{field}: {}", self.message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_people_do() {
        let field = |pointer: &str| Problem::new(pointer, Reason::InvalidSpec, "").field();
        assert_eq!(field("/spec/schemas/0/types/12"), "spec.schemas[0].types[12]");
        assert_eq!(field("/metadata/labels/a~1b~0c"), "metadata.labels.a/b~c");
        assert_eq!(field(""), "");
    }
}
