//! Which namespaces count.

/// The namespaces that are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Namespaces {
    /// All of them.
    #[default]
    All,
    /// These, and no others.
    Named(Vec<String>),
}

impl Namespaces {
    /// All when none is named.
    pub fn of(mut names: Vec<String>) -> Self {
        names.sort();
        names.dedup();
        if names.is_empty() { Self::All } else { Self::Named(names) }
    }

    /// Whether a namespace is one of them.
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
