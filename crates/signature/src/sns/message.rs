//! The messages of SNS: their fields, the signed text, and the URLs that they name.

use std::fmt;

use grapnel_payload::json;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Refusal, limits::SNS_URL_BYTES};

/// The types of messages. Each signs its own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MessageKind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

/// The fields that matter for verification. A repeated field is an error, so that no other reader of the body finds
/// another value than the signed one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message {
    #[serde(rename = "Type")]
    pub(super) kind: MessageKind,
    pub(super) message_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(rename = "TopicArn")]
    pub(super) topic: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(rename = "Message")]
    text: String,
    #[serde(default, rename = "SubscribeURL", skip_serializing_if = "Option::is_none")]
    subscribe_url: Option<String>,
    pub(super) timestamp: String,
    pub(super) signature_version: String,
    pub(super) signature: String,
    #[serde(rename = "SigningCertURL")]
    pub(super) certificate_url: String,
}

/// The parts of a message that a sender may give; the rest is added.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Draft {
    #[serde(rename = "Type")]
    kind: Option<String>,
    message_id: Option<String>,
    token: Option<String>,
    #[serde(rename = "TopicArn")]
    topic: Option<String>,
    subject: Option<String>,
    #[serde(rename = "Message")]
    text: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    #[serde(rename = "SigningCertURL")]
    certificate_url: Option<String>,
}

impl Message {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        // From an array of the values, a structure is read as well.
        let is_object = body.trim_ascii_start().starts_with(b"{");
        let message = is_object.then(|| serde_json::from_slice::<Self>(body).ok()).flatten().ok_or_else(|| {
            let sentence = "the body is not a signed message of SNS: a JSON object with Type, MessageId, TopicArn, \
                            Message, Timestamp, SignatureVersion, Signature and SigningCertURL";
            Refusal::MissingSignature(sentence.into())
        })?;
        // The fields that are not read here can hold what strict JSON does not. The event would then be read leniently,
        // perhaps without the MessageId by which a replay is a duplicate.
        json::check(body).map_err(|_| Refusal::InvalidSignature("the message is not strict JSON".into()))?;
        // The signed text separates fields by line ends only. With one in a field, a message could be cut in another
        // way and still match its signature. The text itself may have them: it comes first, and no field can grow
        // at its expense without taking in a line end.
        let fields = [Some(&message.message_id), message.subject.as_ref(), Some(&message.topic)];
        let more = [message.token.as_ref(), message.subscribe_url.as_ref(), Some(&message.timestamp)];
        if fields.into_iter().chain(more).flatten().any(|field| field.contains(char::is_control)) {
            let sentence = "a field of the message other than Message has control characters";
            return Err(Refusal::InvalidSignature(sentence.into()));
        }
        Ok(message)
    }

    /// Makes an unsigned message of a body: the body itself, if it has the field `Message`, otherwise a notification
    /// with the body as its text. `None` when the body is not text.
    pub(super) fn wrap(body: &[u8], topic: &str, id: String) -> Option<Self> {
        let draft: Draft = serde_json::from_slice(body).unwrap_or_default();
        let kind = match draft.kind.as_deref() {
            Some("SubscriptionConfirmation") => MessageKind::SubscriptionConfirmation,
            Some("UnsubscribeConfirmation") => MessageKind::UnsubscribeConfirmation,
            _ => MessageKind::Notification,
        };
        let topic = draft.topic.unwrap_or_else(|| topic.to_owned());
        let host = Host::of_topic(&topic).map(|host| host.to_string()).unwrap_or_default();
        let sample = format!("https://{host}/SimpleNotificationService-sample.pem");
        Some(Self {
            kind,
            message_id: draft.message_id.unwrap_or(id),
            token: draft.token,
            subject: draft.subject,
            text: draft.text.or_else(|| std::str::from_utf8(body).ok().map(str::to_owned))?,
            subscribe_url: draft.subscribe_url,
            timestamp: String::new(),
            signature_version: "2".into(),
            signature: String::new(),
            certificate_url: draft.certificate_url.unwrap_or(sample),
            topic,
        })
    }

    /// Returns the message in JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the signed text: the names and values of the signed fields, sorted by name, each on a line of its own.
    pub(super) fn signed_text(&self) -> Vec<u8> {
        let kind = match self.kind {
            MessageKind::Notification => "Notification",
            MessageKind::SubscriptionConfirmation => "SubscriptionConfirmation",
            MessageKind::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        };
        let of = |only: bool, value: &Option<String>| value.clone().filter(|_| only);
        let event = self.kind == MessageKind::Notification;
        let (subject, url) = (of(event, &self.subject), of(!event, &self.subscribe_url));
        let token = of(!event, &self.token);
        let fields: [(&str, Option<&str>); 8] = [
            ("Message", Some(&self.text)),
            ("MessageId", Some(&self.message_id)),
            ("Subject", subject.as_deref()),
            ("SubscribeURL", url.as_deref()),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", token.as_deref()),
            ("TopicArn", Some(&self.topic)),
            ("Type", Some(kind)),
        ];
        let lines = fields.into_iter().filter_map(|(name, value)| Some(format!("{name}\n{}\n", value?)));
        lines.collect::<String>().into_bytes()
    }

    /// Returns the host of the certificate: the SNS of the topic's region.
    pub(super) fn certificate_host(&self) -> Result<Host, Refusal> {
        let host = self.url_of_sns(&self.certificate_url).and_then(|(url, host)| {
            let file = url.path().strip_prefix('/')?.strip_suffix(".pem")?;
            let plain = file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            (!file.is_empty() && plain && url.query().is_none()).then_some(host)
        });
        host.ok_or_else(|| {
            let sentence =
                "the SigningCertURL of the message is not the URL of a certificate of SNS in the topic's region";
            Refusal::InvalidSignature(sentence.into())
        })
    }

    /// Returns the URL that confirms the subscription, if it does just that: at the SNS of the topic's region, with the
    /// message's own topic and token.
    pub(super) fn confirmation_url(&self) -> Option<Url> {
        let (url, _) = self.url_of_sns(self.subscribe_url.as_deref()?)?;
        let query = |wanted: &str| {
            let mut values = url.query_pairs().filter(|(name, _)| name == wanted);
            let value = values.next().map(|(_, value)| value.into_owned());
            value.filter(|_| values.next().is_none())
        };
        let same = query("Action")? == "ConfirmSubscription"
            && query("TopicArn")? == self.topic
            && query("Token")? == *self.token.as_ref()?;
        (same && url.path() == "/").then_some(url)
    }

    /// Parses an https URL of the host of the topic.
    fn url_of_sns(&self, text: &str) -> Option<(Url, Host)> {
        let host = Host::of_topic(&self.topic)?;
        let url = Url::parse(text).ok().filter(|_| text.len() <= SNS_URL_BYTES)?;
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let here = url.scheme() == "https" && url.port().is_none() && url.host_str()? == host.to_string();
        (bare && here).then_some((url, host))
    }
}

/// A host of SNS: `sns.{region}.{domain}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Host {
    region: String,
    domain: &'static str,
}

impl Host {
    /// Returns the host of the SNS that has a topic, by the topic's partition and region
    /// (`arn:{partition}:sns:{region}:…`). A region that a message could choose would not do: `sns.s3.amazonaws.com` is
    /// the bucket `sns` of S3.
    fn of_topic(topic: &str) -> Option<Self> {
        let mut parts = topic.split(':').skip(1);
        let domain = if parts.next()? == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let region = parts.nth(1)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = !region.is_empty() && region.bytes().all(plain);
        is_label.then(|| Self { region: region.to_owned(), domain })
    }

    /// Returns the names that a signing certificate from this host may have: they differ between regions.
    pub(super) fn certificate_names(&self) -> Vec<String> {
        let Self { region, domain } = self;
        let mut names = vec![
            format!("sns.{domain}"),
            format!("sns.{region}.{domain}"),
            format!("sns-signing.{region}.{domain}"),
            format!("sns-{region}.{domain}"),
        ];
        if region == "us-gov-east-1" {
            names.push("sns-us-gov-west-1.amazonaws.com".into());
        }
        names
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sns.{}.{}", self.region, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";

    fn message(certificate: &str, subscribe: &str) -> Message {
        message_of(TOPIC, certificate, subscribe)
    }

    fn message_of(topic: &str, certificate: &str, subscribe: &str) -> Message {
        let text = serde_json::json!({
            "Type": "SubscriptionConfirmation",
            "MessageId": "1",
            "Token": "2336",
            "TopicArn": topic,
            "Message": "confirm",
            "SubscribeURL": subscribe,
            "Timestamp": "2012-04-26T20:45:04.751Z",
            "SignatureVersion": "1",
            "Signature": "eHg=",
            "SigningCertURL": certificate,
        });
        Message::read(text.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_certificates_of_sns_are_asked_for() {
        let host = |url: &str| message(url, "").certificate_host();
        for (topic, right, name) in [
            (TOPIC, "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb72.pem", "sns.amazonaws.com"),
            (
                "arn:aws-cn:sns:cn-north-1:1:t",
                "https://sns.cn-north-1.amazonaws.com.cn/a.pem",
                "sns-cn-north-1.amazonaws.com.cn",
            ),
            (
                "arn:aws:sns:af-south-1:1:t",
                "https://SNS.af-south-1.amazonaws.com:443/a.pem",
                "sns-signing.af-south-1.amazonaws.com",
            ),
            (
                "arn:aws-us-gov:sns:us-gov-east-1:1:t",
                "https://sns.us-gov-east-1.amazonaws.com/a.pem",
                "sns-us-gov-west-1.amazonaws.com",
            ),
        ] {
            let names = message_of(topic, right, "").certificate_host().unwrap().certificate_names();
            assert!(names.iter().any(|known| known == name), "{right}: {names:?}");
        }
        let long = format!("https://sns.us-west-2.amazonaws.com/{}.pem", "a".repeat(SNS_URL_BYTES));
        for wrong in [
            "",
            "http://sns.us-west-2.amazonaws.com/a.pem",
            "https://sns.us-west-2.amazonaws.com/a.crt",
            "https://sns.us-west-2.amazonaws.com/.pem",
            "https://sns.us-west-2.amazonaws.com/a/b.pem",
            "https://sns.us-west-2.amazonaws.com/%2e%2e.pem",
            "https://sns.us-west-2.amazonaws.com/a.pem?b",
            "https://sns.us-west-2.amazonaws.com/a.pem#b",
            "https://sns.us-west-2.amazonaws.com:8443/a.pem",
            "https://a@sns.us-west-2.amazonaws.com/a.pem",
            "https://sns.us-west-2.amazonaws.com@evil.example/a.pem",
            "https://sns.us-west-2.amazonaws.com.evil.example/a.pem",
            "https://sns.evil.example/a.pem?.amazonaws.com",
            "https://sns.bucket.s3.amazonaws.com/a.pem",
            "https://s3.us-west-2.amazonaws.com/a.pem",
            "https://sns.s3.amazonaws.com/a.pem",
            "https://sns.s3-us-west-2.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-west-2.amazonaws.com.cn/a.pem",
            "https://sns.us-west-2.amazonaws.com./a.pem",
            "https://sns.us-west-2.\u{430}mazonaws.com/a.pem",
            "https://sns.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://evil.example\\sns.us-west-2.amazonaws.com/a.pem",
            "file:///etc/passwd.pem",
            &long,
        ] {
            assert_eq!(host(wrong).unwrap_err().code(), "invalid_signature", "{wrong}");
        }
    }

    /// No topic makes another host one of SNS, even one that an endpoint lists by mistake.
    #[test]
    fn topics_without_a_region_have_no_host() {
        for topic in ["", "arn", "arn:aws:sns", "arn:aws:sns::1:t", "arn:aws:sns:a.evil.example/:1:t"] {
            for url in ["https://sns..amazonaws.com/a.pem", "https://sns.a.evil.example/.amazonaws.com/a.pem"] {
                assert!(message_of(topic, url, "").certificate_host().is_err(), "{topic}: {url}");
            }
        }
    }

    #[test]
    fn only_the_confirmation_of_the_own_topic_is_visited() {
        let url = |url: &str| message("", url).confirmation_url();
        let right = "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:123456789012:MyTopic&Token=2336";
        assert_eq!(url(right).unwrap().as_str(), right);
        for (part, other) in [
            ("us-west-2.amazonaws", "us-east-1.amazonaws"),
            ("amazonaws.com/", "amazonaws.com/path"),
            ("https", "http"),
            ("ConfirmSubscription", "Publish"),
            ("MyTopic", "Another"),
            ("Token=2336", "Token=2337"),
            ("Token=2336", "Token=2336&Action=Publish"),
            ("Token=2336", ""),
            ("sns.us-west-2.amazonaws.com", "127.0.0.1"),
        ] {
            assert_eq!(url(&right.replace(part, other)), None, "{part}: {other}");
        }
    }

    #[test]
    fn a_field_cannot_be_cut_in_another_way() {
        let whole = serde_json::to_value(message("", "")).unwrap();
        for field in ["MessageId", "Subject", "TopicArn", "Token", "SubscribeURL", "Timestamp"] {
            let mut torn = whole.clone();
            torn[field] = "a\nTimestamp\nb".into();
            let refusal = Message::read(torn.to_string().as_bytes()).unwrap_err();
            assert_eq!(refusal.code(), "invalid_signature", "{field}");
        }
        let twice = whole.to_string().replacen('{', r#"{"MessageId":"2","#, 1);
        assert_eq!(Message::read(twice.as_bytes()).unwrap_err().code(), "missing_signature");
    }
}
