//! Signatures over the URL and the body, as used by Twilio, Mailchimp and Trello.
//!
//! Twilio: the signed content is the URL as the sender called it and, for a form, every name followed by its values, sorted by
//! name. Any other body is covered by its SHA-256 in the URL's query
//! (<https://www.twilio.com/docs/usage/webhooks/webhooks-security>). The boundary between a name and its value is not
//! signed: that is a property of the sender's scheme, which a receiver cannot fix. Mailchimp signs the same of a form, and sends
//! nothing else. Trello signs the body as it is, followed by the URL.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use grapnel_payload::{limits::FORM_FIELDS, reading::BodyKind};
use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    KeyError, KeyForm, KeyProblem, Refusal, RequiredContext, VerificationContext,
    header_format::{Shape, SignatureEncoding, SignatureShape},
    key,
    mac::{Hash, MacKeys},
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::header_value,
    single,
};

/// Query field with the hexadecimal SHA-256 of a body that is not a form.
const BODY_DIGEST: &str = "bodySHA256";

/// A scheme that signs the URL, by HMAC-SHA1 in base64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlScheme {
    /// Header that carries the signature.
    pub header: HeaderName,
    /// What is signed.
    pub covered: Covered,
}

/// What is signed together with the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covered {
    /// The URL, then the fields of a form; any other body by its digest in the query.
    UrlThenFieldsOrDigest,
    /// The URL, then the fields of the body, which is read as a form whatever its content type, because that is not
    /// signed.
    UrlThenFields,
    /// The body, then the URL.
    BodyThenUrl,
}

impl UrlScheme {
    /// Returns Twilio's scheme, with the signature in a header.
    pub(super) fn of(header: &'static str) -> Self {
        Self { header: HeaderName::from_static(header), covered: Covered::UrlThenFieldsOrDigest }
    }
}

/// The URL that a sender called, exactly as written: nothing is normalized, because every byte of it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledUrl {
    /// Whether the scheme is `https` rather than `http`.
    pub secure: bool,
    /// Host, and port if present.
    pub authority: String,
    /// Path and query.
    pub target: String,
}

impl CalledUrl {
    /// Creates it from a URL; `None` when the scheme is neither `http` nor `https`.
    pub fn of(url: &Url) -> Option<Self> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (_, rest) = url.as_str().split_once("://")?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(at)?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(Self { secure, authority: authority.to_owned(), target: target.to_owned() })
    }

    fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.target.split_once('?').map_or("", |(_, query)| query).as_bytes())
    }

    /// Returns the URL as written, and with the default port removed or added: senders differ in whether they write the
    /// default port, and proxies in whether they preserve it. The sender's own libraries do the same.
    fn spellings(&self) -> [String; 2] {
        let Self { secure, authority, target } = self;
        let (scheme, implied) = if *secure { ("https", "443") } else { ("http", "80") };
        // The colons of an IPv6 address are in brackets.
        let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let other = match port {
            Some((host, port)) if *secure || port == implied => host.to_owned(),
            Some(_) => authority.clone(),
            None => format!("{authority}:{implied}"),
        };
        [format!("{scheme}://{authority}{target}"), format!("{scheme}://{other}{target}")]
    }
}

/// A URL scheme with its keys.
pub(super) struct UrlVerifier {
    scheme: UrlScheme,
    keys: MacKeys,
}

impl fmt::Debug for UrlVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlVerifier").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl UrlVerifier {
    pub(super) fn new(scheme: UrlScheme, secrets: &[Secret]) -> Result<Self, KeyError> {
        let keys = MacKeys::new(Hash::Sha1, &key::each(secrets, |secret| KeyForm::Raw.key(secret))?)?;
        Ok(Self { scheme, keys })
    }

    /// Verifies a request that was sent to `url`, and returns the index of the key that signed it.
    fn verify_called(&self, url: &CalledUrl, headers: &HeaderMap, body: &[u8]) -> Result<usize, Refusal> {
        let header = &self.scheme.header;
        let signature = single(headers, header, "signature")?.as_bytes();
        let candidates = Shape::Prefixed("".into())
            .parse(signature, SignatureEncoding::Base64, SignatureShape::mac(Hash::Sha1.width()))
            .map_err(|what| Refusal::InvalidSignature(format!("header {header} {what}")))?;
        let [before, after] = self.scheme.around(url, headers, body)?;
        for url in url.spellings() {
            if let Some(key) = self.keys.matching(&[&*before, url.as_bytes(), &*after], &candidates) {
                return Ok(key);
            }
        }
        let sentence = format!(
            "no signature in header {header} matches this body and URL with any configured secret; set --public-url to \
             the URL that the sender calls"
        );
        Err(Refusal::InvalidSignature(sentence))
    }
}

impl ProofKind for UrlScheme {
    fn with_keys(&self, secrets: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(UrlVerifier::new(self.clone(), secrets)?))
    }

    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let url = request.url.as_mut().ok_or(KeyProblem::Scheme("it signs the URL, which is not known"))?;
        let signature = self.signature(secret, url, request.headers, request.body)?;
        request.headers.insert(&self.header, header_value(signature.as_bytes())?);
        Ok(())
    }
}

impl Proof for UrlVerifier {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&self.scheme.header), None]
    }

    fn needs(&self) -> RequiredContext<'_> {
        RequiredContext::Url
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let VerificationContext::Url(url) = request.context else {
            let sentence = "the URL that the sender called is not known, and it is signed";
            return Err(Refusal::InvalidSignature(sentence.into()));
        };
        self.verify_called(url, request.headers, request.body)
    }
}

impl UrlScheme {
    /// Returns what is signed before and after the URL. A digest in the query is compared with the body.
    fn around<'a>(&self, url: &CalledUrl, headers: &HeaderMap, body: &'a [u8]) -> Result<[Cow<'a, [u8]>; 2], Refusal> {
        let nothing = Cow::Borrowed(&[][..]);
        Ok(match self.covered {
            Covered::BodyThenUrl => [Cow::Borrowed(body), nothing],
            Covered::UrlThenFields => [nothing, fields(body)?.into_bytes().into()],
            Covered::UrlThenFieldsOrDigest => match digest_in(url, headers)? {
                None => [nothing, fields(body)?.into_bytes().into()],
                Some(digest) if is_digest_of(&digest, body) => [nothing.clone(), nothing],
                Some(_) => {
                    let sentence = format!("{BODY_DIGEST} in the query is not the SHA-256 of this body");
                    return Err(Refusal::InvalidSignature(sentence));
                }
            },
        })
    }

    /// Returns the signature of a request. The digest of a body that is not a form is added to the URL.
    fn signature(
        &self,
        secret: &Secret,
        url: &mut Url,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<String, KeyProblem> {
        if self.covered == Covered::UrlThenFieldsOrDigest && !is_form(headers) {
            let others: Vec<_> = url.query_pairs().filter(|(name, _)| name != BODY_DIGEST).map(owned).collect();
            url.query_pairs_mut()
                .clear()
                .extend_pairs(others)
                .append_pair(BODY_DIGEST, &hex::encode(Sha256::digest(body)));
        }
        let called = CalledUrl::of(url).ok_or(KeyProblem::Scheme("the URL is neither http nor https"))?;
        let around = self.around(&called, headers, body);
        let [before, after] = around.map_err(|_| KeyProblem::Scheme("the form has too many fields"))?;
        let keys = MacKeys::new(Hash::Sha1, &[KeyForm::Raw.key(secret)?]).map_err(|error| error.problem)?;
        let tag = keys.tag(0, &[&*before, url.as_str().as_bytes(), &*after]).unwrap_or_default();
        Ok(SignatureEncoding::Base64.encode(&tag))
    }
}

/// Returns the digest that covers the body; `None` when its fields do. A digest in the query applies to every body,
/// because the content type is not signed: otherwise a body that it covers could be passed off as an empty form.
fn digest_in(url: &CalledUrl, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut digests = url.query().filter(|(name, _)| name == BODY_DIGEST).map(|(_, value)| value.into_owned());
    match (digests.next(), digests.next()) {
        (Some(digest), None) => Ok(Some(digest)),
        (None, _) if is_form(headers) => Ok(None),
        (None, _) => Err(Refusal::InvalidSignature(format!(
            "the body is no form, and the query has no {BODY_DIGEST} that would cover it"
        ))),
        (Some(_), Some(_)) => Err(Refusal::InvalidSignature(format!("{BODY_DIGEST} is in the query more than once"))),
    }
}

fn is_digest_of(text: &str, body: &[u8]) -> bool {
    let mut digest = [0; 32];
    // The sender knows both values, so timing does not matter.
    hex::decode_to_slice(text, &mut digest).is_ok() && digest.as_slice() == Sha256::digest(body).as_slice()
}

fn is_form(headers: &HeaderMap) -> bool {
    matches!(BodyKind::of(headers.get(CONTENT_TYPE).map(HeaderValue::to_str).and_then(Result::ok)), BodyKind::Form)
}

/// Returns the names of a form in order, each value preceded by its name. A duplicate value of a name counts once.
fn fields(body: &[u8]) -> Result<String, Refusal> {
    let mut sorted = BTreeMap::<Cow<'_, str>, BTreeSet<Cow<'_, str>>>::new();
    for (number, (name, value)) in form_urlencoded::parse(body).enumerate() {
        if number == FORM_FIELDS {
            return Err(Refusal::InvalidSignature(format!("the form has more than {FORM_FIELDS} fields")));
        }
        sorted.entry(name).or_default().insert(value);
    }
    let mut text = String::with_capacity(body.len());
    for (name, values) in &sorted {
        for value in values {
            text.push_str(name);
            text.push_str(value);
        }
    }
    Ok(text)
}

fn owned((name, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str =
        "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";
    const JSON: &str = r#"{"property": "value", "boolean": true}"#;
    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";

    fn judge(url: &str, content_type: &str, body: &str, signature: &str) -> Result<usize, String> {
        let scheme = UrlScheme::of("x-twilio-signature");
        let verifier = UrlVerifier::new(scheme, &["12345".into()]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
        headers.insert("x-twilio-signature", signature.parse().unwrap());
        let url = CalledUrl::of(&url.parse().unwrap()).unwrap();
        verifier.verify_called(&url, &headers, body.as_bytes()).map_err(|refusal| refusal.to_string())
    }

    const A_FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

    /// The vectors of twilio-python's `tests/unit/test_request_validator.py`.
    #[test]
    fn published_vectors() {
        assert_eq!(judge(URL, A_FORM, FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="), Ok(0));
        let repeated = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234";
        assert_eq!(judge(URL, A_FORM, repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="), Ok(0));
        let port = URL.replace(".com", ".com:1234");
        assert_eq!(judge(&port, A_FORM, FORM, "RSOYDt4T1cUTdK1PDd93/VVr8B8="), Ok(0), "https without its port");
        let http = port.replace("https", "http");
        assert_eq!(judge(&http, A_FORM, FORM, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="), Ok(0), "http with its port");
        assert_eq!(judge(URL, A_FORM, FORM, "kvajT1Ptam85bY51eRf/AJRuM3w="), Ok(0), "https with port 443");
        let http = URL.replace("https", "http");
        assert_eq!(judge(&http, A_FORM, FORM, "0ZXoZLH/DfblKGATFgpif+LLRf4="), Ok(0), "http with port 80");
        let json = format!("{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620");
        assert_eq!(judge(&json, "application/json", JSON, "a9nBmqA0ju/hNViExpshrM61xv4="), Ok(0));
    }

    #[test]
    fn urls_are_taken_apart_as_they_are() {
        for (text, secure, authority, target) in [
            (URL, true, "mycompany.com", "/myapp.php?foo=1&bar=2"),
            ("http://user:pw@[2001:db8::1]:8080/a", false, "[2001:db8::1]:8080", "/a"),
            ("http://a", false, "a", "/"),
        ] {
            let url = CalledUrl { secure, authority: authority.into(), target: target.into() };
            assert_eq!(CalledUrl::of(&text.parse().unwrap()), Some(url), "{text}");
        }
        assert_eq!(CalledUrl::of(&"ftp://a/b".parse().unwrap()), None);
        let spelled = |secure, authority: &str| {
            CalledUrl { secure, authority: authority.into(), target: "/a'b".into() }.spellings()
        };
        assert_eq!(spelled(true, "[2001:db8::1]"), ["https://[2001:db8::1]/a'b", "https://[2001:db8::1]:443/a'b"]);
        assert_eq!(spelled(false, "a:80"), ["http://a:80/a'b", "http://a/a'b"]);
        assert_eq!(spelled(false, "a:81"), ["http://a:81/a'b", "http://a:81/a'b"]);
    }

    #[test]
    fn whatever_is_signed_counts() {
        let right = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";
        for url in [
            URL.replace("https", "http"),
            URL.replace("foo=1", "foo=2"),
            URL.replace("mycompany", "mycompony"),
            URL.replace("?foo=1&bar=2", ""),
            URL.replace("myapp", "yourapp"),
        ] {
            assert!(judge(&url, A_FORM, FORM, right).is_err(), "{url}");
        }
        for form in [&FORM.replace("1234&", "1235&"), "", &FORM[1..], &format!("{FORM}&a=b")] {
            assert!(judge(URL, A_FORM, form, right).is_err(), "{form}");
        }
        assert!(judge(URL, A_FORM, &FORM.repeat(400).replace("Caller=", "&Caller="), right).is_err());
        for wrong in ["", "AAAA", &right.to_lowercase(), &format!("{right},{right}")] {
            assert!(judge(URL, A_FORM, FORM, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_body_that_is_no_form_is_covered_by_its_digest_or_refused() {
        let right = "a9nBmqA0ju/hNViExpshrM61xv4=";
        let url = format!("{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620");
        assert!(judge(&url, "application/json", &JSON.replace("true", "fals"), right).unwrap_err().contains("SHA-256"));
        // The content type is not signed, so it must not decide whether the body is checked.
        for other in ["", "a=b"] {
            assert!(judge(&url, A_FORM, other, right).is_err(), "{other}");
        }
        assert!(judge(&format!("{url}&bodySHA256=00"), "application/json", JSON, right).is_err());
        // The signature of an empty form.
        let keys = MacKeys::new(Hash::Sha1, &[zeroize::Zeroizing::new(b"12345".to_vec())]).unwrap();
        let empty = SignatureEncoding::Base64.encode(&keys.tag(0, &[URL.as_bytes()]).unwrap());
        assert_eq!(judge(URL, A_FORM, "", &empty), Ok(0));
        assert!(judge(URL, "application/json", JSON, &empty).unwrap_err().contains(BODY_DIGEST));
    }

    #[test]
    fn what_is_signed_is_accepted() {
        let scheme = UrlScheme::of("x-twilio-signature");
        for (content_type, body) in [(A_FORM, FORM), ("application/json", JSON), (A_FORM, "")] {
            let mut url: Url = URL.parse().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            for _ in 0..2 {
                let signature = scheme.signature(&"12345".into(), &mut url, &headers, body.as_bytes()).unwrap();
                assert_eq!(judge(url.as_str(), content_type, body, &signature), Ok(0), "{url}");
            }
        }
    }
}
