//! The names of the providers: the senders whose webhooks are known.
//!
//! ```
//! use grapnel_values::provider::ProviderName;
//!
//! assert_eq!(ProviderName::GitHub.as_str(), "GitHub");
//! assert_eq!(ProviderName::named("GitHub"), Some(ProviderName::GitHub));
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A sender that is known by name. It is the key of the provider table of `grapnel_signature`, which has a row
        /// for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ProviderName {
            $($(#[$doc])* $name,)*
        }

        impl ProviderName {
            /// Every name, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name as written in an object.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

names! {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Bitbucket Cloud and Data Center.
    Bitbucket,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// Shopify.
    Shopify,
    /// Twilio.
    Twilio,
    /// Any sender that follows the Standard Webhooks specification.
    StandardWebhooks,
    /// Svix, and senders that use it.
    Svix,
    /// Linear.
    Linear,
    /// PagerDuty, webhooks of version 3.
    PagerDuty,
    /// Sentry.
    Sentry,
    /// Zoom.
    Zoom,
    /// Discord, interactions and events.
    Discord,
    /// The Event Webhook of SendGrid.
    SendGrid,
    /// X, formerly Twitter.
    X,
    /// Harbor.
    Harbor,
    /// Sonatype Nexus Repository.
    Nexus,
    /// Docker Hub.
    DockerHub,
    /// Google: Pub/Sub push, Cloud Scheduler, Cloud Tasks and others that send an OpenID Connect token.
    Google,
    /// PayPal.
    PayPal,
    /// Gitea.
    Gitea,
    /// Forgejo.
    Forgejo,
    /// Meta: Facebook, Instagram, WhatsApp and others of its Graph API.
    Meta,
    /// Jira Cloud and Data Center.
    Jira,
    /// WooCommerce.
    WooCommerce,
    /// Trello.
    Trello,
    /// The event hooks of Okta.
    Okta,
    /// Mailchimp Transactional, formerly Mandrill.
    Mailchimp,
    /// The service hooks of Azure DevOps.
    AzureDevOps,
    /// Azure Container Registry.
    AzureContainerRegistry,
    /// JFrog Artifactory.
    Artifactory,
    /// Quay.
    Quay,
    /// Amazon Simple Notification Service.
    AmazonSNS,
}

impl ProviderName {
    /// Returns the provider with that name, compared with regard to case.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|name| name.as_str() == text)
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<str> for ProviderName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for ProviderName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact() {
        for name in ProviderName::ALL {
            assert_eq!(ProviderName::named(name.as_str()), Some(*name));
            assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
        }
        assert_eq!(ProviderName::named("github"), None);
        assert_eq!(ProviderName::named(""), None);
    }
}
