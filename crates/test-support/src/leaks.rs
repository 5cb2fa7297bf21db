//! Secrets, in every form in which they could be seen.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// What must not be seen, by name.
#[derive(Default)]
pub struct Secrets(Vec<(String, Vec<u8>)>);

/// Shorter ones are in every text by chance.
const SHORTEST: usize = 8;

impl Secrets {
    /// Adds one. What stands before `_` in keys that are written as base64 is no secret; the rest is one in both forms.
    pub fn add(&mut self, name: &str, secret: impl AsRef<[u8]>) {
        let secret = secret.as_ref();
        assert!(secret.len() >= SHORTEST, "{name} is too short to be looked for");
        self.0.push((name.into(), secret.into()));
        let text = std::str::from_utf8(secret).unwrap_or_default();
        if let Some((_, encoded)) = text.split_once('_').filter(|(prefix, _)| prefix.len() == 5)
            && let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(encoded)
        {
            self.0.push((format!("{name}, without its prefix"), encoded.into()));
            self.0.push((format!("{name}, decoded"), decoded));
        }
    }

    /// Fails if a text holds one of them.
    pub fn assert_none_in(&self, place: &str, text: &str) {
        for (name, secret) in &self.0 {
            for (form, seen) in forms(secret) {
                if let Some(at) = text.find(&seen) {
                    let line = text[..at].lines().count();
                    let from = text[..at].char_indices().rev().nth(200).map_or(0, |(at, _)| at);
                    panic!("{place}, line {line}, shows the {name} ({form}), after\n{}", &text[from..at]);
                }
            }
        }
    }
}

/// The ways in which bytes are written, as texts to look for.
fn forms(secret: &[u8]) -> Vec<(&'static str, String)> {
    let mut forms = vec![
        ("hexadecimal", hex::encode(secret)),
        ("hexadecimal, upper case", hex::encode_upper(secret)),
        // `{:?}` of a slice, and `{:?}` of `Bytes` where it is not the text itself.
        ("numbers", secret.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")),
        ("escaped", secret.iter().map(|&byte| std::ascii::escape_default(byte).to_string()).collect()),
    ];
    if let Ok(text) = std::str::from_utf8(secret) {
        forms.push(("as it is", text.into()));
        forms.push(("JSON", serde_json::to_string(text).unwrap().trim_matches('"').into()));
        forms.push(("percent-encoded", form_urlencoded::byte_serialize(secret).collect()));
    }
    // Base64 of something longer, such as `user:password`, holds it in one of three ways, but for the characters at both
    // ends that belong to what is beside it as well.
    for before in 0..3 {
        let padded = [vec![0; before], secret.to_vec()].concat();
        let (first, whole) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        forms.push(("base64", STANDARD_NO_PAD.encode(&padded)[first..whole].into()));
        forms.push(("base64 for URLs", URL_SAFE_NO_PAD.encode(&padded)[first..whole].into()));
    }
    forms
}
