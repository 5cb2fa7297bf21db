//! `grapnel deliveries preview`: what a subscription makes of an event.

use std::process::ExitCode;

use anyhow::{Context, bail};
use grapnel_api::ObjectKey;
use serde_json::Value;

use crate::{
    admin::contract::{ItemSkip, ObjectItem, Operation, PreviewItem},
    cli::{
        output::Output,
        print::{self, clean, clean_lines},
        remote::{RawPage, Remote},
    },
};

/// Shows what the subscription, as configured now, makes of the event.
///
/// # Errors
/// Returns an error if the operator cannot be reached, or has no such object or event.
pub(super) async fn run(
    remote: &Remote,
    subscription: &ObjectKey,
    id: &str,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let endpoint = endpoint_of(remote, subscription).await?;
    let names = [&*endpoint.namespace, &*endpoint.name, id];
    let query = [("subscription", &*subscription.to_string())];
    let answer = remote.get(Operation::PreviewDelivery, &names, &query).await?;
    if output.is_for_people() {
        print::line(&clean_lines(&sentence(&answer.read()?)?))?;
    } else {
        output.value(&answer.read::<Value>()?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The endpoint that a subscription reads.
async fn endpoint_of(remote: &Remote, subscription: &ObjectKey) -> anyhow::Result<ObjectKey> {
    let query = [("namespace", &*subscription.namespace)];
    let page: RawPage = remote.get(Operation::ListObjects, &[], &query).await?.read()?;
    for object in page.rows::<ObjectItem>()? {
        if let ObjectItem::Subscription(item) = object
            && *item.name == *subscription.name
        {
            let name = item.endpoint.context("no version of the subscription can be read; see grapnel status")?;
            return Ok(ObjectKey::new(item.endpoint_namespace.unwrap_or(item.namespace), name));
        }
    }
    bail!("there is no WebhookSubscription {subscription}; `grapnel status` lists what there is")
}

fn sentence(preview: &PreviewItem) -> anyhow::Result<String> {
    if let Some(reason) = preview.skip_reason {
        return Ok(match reason {
            ItemSkip::Type => "skipped: eventTypes does not match the type".into(),
            ItemSkip::Filter => "skipped: filter gives false".into(),
            ItemSkip::Shadow => "not sent: mode is Shadow".into(),
        });
    }
    if let Some(error) = &preview.error {
        return Ok(format!("fails: {}", clean(error)));
    }
    let body = match (&preview.payload, &preview.payload_text, &preview.payload_base64) {
        (Some(json), ..) => serde_json::to_string_pretty(&serde_json::from_str::<Value>(json.get())?)?,
        (None, Some(text), _) => text.clone(),
        (None, None, Some(base64)) => format!("(base64) {base64}"),
        (None, None, None) => "null".into(),
    };
    let content_type = preview.content_type.as_deref().unwrap_or("none");
    Ok(format!("content-type: {}\n\n{body}", clean(content_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_says_what_would_become_of_the_event() {
        let of = |text: &str| sentence(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(of(r#"{"sequence":1,"skipReason":"filter"}"#), "skipped: filter gives false");
        assert_eq!(of(r#"{"sequence":1,"error":"transform, no such key"}"#), "fails: transform, no such key");
        let sent = of(r#"{"sequence":1,"contentType":"application/json","payload":{"a":1}}"#);
        assert_eq!(sent, "content-type: application/json\n\n{\n  \"a\": 1\n}");
        assert!(of(r#"{"sequence":1,"payloadText":"x"}"#).ends_with("\n\nx"));
    }
}
