//! The name of an object on the command line: a name and `--namespace`, or NAMESPACE/NAME.

use clap::{ArgMatches, FromArgMatches, parser::ValueSource};

use super::Usage;
use grapnel_api::ObjectKey;

/// `--namespace`, and whether it was typed: what the environment says may differ from NAMESPACE/NAME.
#[derive(Debug, Clone)]
pub(super) struct Namespace {
    name: String,
    typed: bool,
}

#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
struct Flag {
    /// Namespace of objects that are named without one
    #[arg(short, long, env = "GRAPNEL_NAMESPACE", default_value = "default")]
    namespace: String,
}

impl clap::Args for Namespace {
    fn augment_args(command: clap::Command) -> clap::Command {
        Flag::augment_args(command)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Flag::augment_args_for_update(command)
    }
}

impl FromArgMatches for Namespace {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Flag { namespace } = Flag::from_arg_matches(matches)?;
        let typed = matches.value_source("namespace") == Some(ValueSource::CommandLine);
        Ok(Self { name: namespace, typed })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Namespace {
    /// The object of a name in this namespace, or of NAMESPACE/NAME.
    ///
    /// # Errors
    /// Returns [`Usage`] if the name has another form, or names another namespace than a typed `--namespace`.
    pub(super) fn object(&self, name: &str) -> anyhow::Result<ObjectKey> {
        let parts: Vec<&str> = name.split('/').collect();
        match *parts {
            [name] if !name.is_empty() => Ok(ObjectKey::new(&*self.name, name)),
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                if self.typed && namespace != self.name {
                    return Err(Usage::error(format!(
                        "{namespace}/{name} is in namespace {namespace}, and --namespace says {}; give one of them",
                        self.name
                    )));
                }
                Ok(ObjectKey::new(namespace, name))
            }
            _ => Err(Usage::error(format!("{name:?} must be NAME or NAMESPACE/NAME"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str, typed: bool) -> Namespace {
        Namespace { name: name.into(), typed }
    }

    #[test]
    fn a_name_may_carry_its_namespace() {
        let object = |typed, name| namespace("team", typed).object(name).ok();
        for typed in [false, true] {
            assert_eq!(object(typed, "github"), Some(ObjectKey::new("team", "github")));
            assert_eq!(object(typed, "team/github"), Some(ObjectKey::new("team", "github")));
        }
        assert_eq!(object(false, "shop/github"), Some(ObjectKey::new("shop", "github")), "it wins over the default");
    }

    #[test]
    fn another_form_and_a_contradiction_are_usage_errors() {
        for name in ["", "/", "shop/", "/github", "a/b/c"] {
            let error = namespace("default", false).object(name).unwrap_err();
            assert!(error.is::<Usage>() && error.to_string().contains("NAMESPACE/NAME"), "{error}");
        }
        let error = namespace("other", true).object("shop/github").unwrap_err();
        assert!(error.is::<Usage>() && error.to_string().contains("--namespace says other"), "{error}");
    }
}
