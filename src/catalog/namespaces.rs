//! Selects the namespaces whose objects are used.

/// The namespaces whose objects are used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespaces {
    /// All namespaces.
    #[default]
    All,
    /// Only these.
    Named(Vec<String>),
}

impl Namespaces {
    /// These namespaces, or all if there are none.
    pub fn of(mut names: Vec<String>) -> Self {
        names.sort();
        names.dedup();
        if names.is_empty() { Self::All } else { Self::Named(names) }
    }

    /// Whether a namespace is selected.
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_all_names() {
        assert!(Namespaces::of(Vec::new()).contains("shop"));
        let named = Namespaces::of(vec!["shop".into(), "billing".into(), "shop".into()]);
        assert_eq!(named, Namespaces::Named(vec!["billing".into(), "shop".into()]));
        assert!(named.contains("shop") && !named.contains("other"));
    }
}
