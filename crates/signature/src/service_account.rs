//! Callers inside the cluster, identified by their ServiceAccount.
//!
//! Only the cluster can say whether a token is genuine (TokenReview); this scheme says which accounts it may belong to.

use std::sync::Arc;

use grapnel_values::secret::Secret;
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use super::{
    KeyError, KeyForm, KeyProblem, Refusal, RequiredContext, VerificationContext,
    proof::{Proof, ProofKind, UnsignedRequest, UnverifiedRequest},
    request::sensitive,
    single,
    token::after,
};
use crate::jws::is_bearer_token;

/// Prefix of `<namespace>:<name>` in the user name of a ServiceAccount
/// (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#service-account-tokens>).
const USER_PREFIX: &str = "system:serviceaccount:";

/// Which ServiceAccounts may call, and the audiences of their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountScheme {
    /// Audiences. A token must have been issued for one of them.
    pub audiences: Vec<Box<str>>,
    /// Namespace and name of each permitted account.
    pub allowed: Vec<(Box<str>, Box<str>)>,
}

/// The cluster's review of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// The user that the token belongs to, such as `system:serviceaccount:shop:billing`.
    pub username: Arc<str>,
    /// The requested audiences for which the token was issued.
    pub audiences: Arc<[Box<str>]>,
}

impl ServiceAccountScheme {
    /// Returns the token of a request, to be reviewed for the scheme's audiences. It has the form of a bearer token
    /// (RFC 6750, section 2.1); nothing else is known of it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the token is missing or malformed.
    pub fn token<'h>(&self, headers: &'h HeaderMap) -> Result<&'h str, Refusal> {
        let value = match single(headers, &AUTHORIZATION, "caller's token") {
            Err(Refusal::MissingSignature(_)) => {
                return Err(Refusal::MissingSignature(
                    "header authorization is missing; send `Authorization: Bearer <token>` with a token of your ServiceAccount".into(),
                ));
            }
            value => value?,
        };
        after(value.as_bytes(), "Bearer")
            .and_then(|token| std::str::from_utf8(token.trim_ascii_end()).ok())
            .filter(|token| is_bearer_token(token))
            .ok_or_else(|| {
                Refusal::InvalidSignature("header authorization does not hold `Bearer` and one token after it".into())
            })
    }

    /// Returns whether the user of a reviewed token is a permitted account. A user that is not a ServiceAccount never
    /// is.
    pub fn allows(&self, username: &str) -> bool {
        let Some((namespace, name)) = username.strip_prefix(USER_PREFIX).and_then(|rest| rest.split_once(':')) else {
            return false;
        };
        self.allowed.iter().any(|(in_namespace, named)| **in_namespace == *namespace && **named == *name)
    }
}

impl ProofKind for ServiceAccountScheme {
    fn with_keys(&self, _: &[Secret]) -> Result<Box<dyn Proof>, KeyError> {
        Ok(Box::new(self.clone()))
    }

    /// The secret is the token itself, issued by the cluster.
    fn sign(&self, secret: &Secret, request: &mut UnsignedRequest<'_>) -> Result<(), KeyProblem> {
        let token = KeyForm::Raw.key(secret)?;
        request.headers.insert(AUTHORIZATION, sensitive(&[b"Bearer ", token.as_slice()].concat())?);
        Ok(())
    }

    fn needs_secrets(&self) -> bool {
        false
    }
}

impl Proof for ServiceAccountScheme {
    fn credential_headers(&self) -> [Option<&HeaderName>; 2] {
        [Some(&AUTHORIZATION), None]
    }

    fn needs(&self) -> RequiredContext<'_> {
        RequiredContext::Review(self)
    }

    fn verify(&self, request: &UnverifiedRequest<'_>) -> Result<usize, Refusal> {
        let VerificationContext::Review(review) = request.context else {
            let sentence = "the ServiceAccount of the caller has not been reviewed";
            return Err(Refusal::InvalidSignature(sentence.into()));
        };
        if !review.audiences.iter().any(|audience| self.audiences.contains(audience)) {
            return Err(Refusal::InvalidSignature(
                "the token's audience is not one of this endpoint; request a token for one of \
                 spec.verification.serviceAccount.audiences"
                    .into(),
            ));
        }
        if !self.allows(&review.username) {
            return Err(Refusal::InvalidSignature(
                "the token's ServiceAccount is not allowed; add it to spec.verification.serviceAccount.allowed".into(),
            ));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;

    use crate::*;

    fn scheme() -> ServiceAccountScheme {
        ServiceAccountScheme {
            audiences: vec!["grapnel".into()],
            allowed: vec![("shop".into(), "billing".into()), ("ops".into(), "cron".into())],
        }
    }

    fn review(account: &str, audiences: &[&str]) -> Review {
        let audiences = audiences.iter().map(|&audience| audience.into()).collect();
        Review { username: format!("system:serviceaccount:{account}").into(), audiences }
    }

    #[test]
    fn only_the_accounts_that_are_named_are_allowed() {
        let scheme = scheme();
        for good in ["system:serviceaccount:shop:billing", "system:serviceaccount:ops:cron"] {
            assert!(scheme.allows(good), "{good}");
        }
        for bad in [
            "",
            "shop:billing",
            "system:serviceaccount:",
            "system:serviceaccount:shop",
            "system:serviceaccount:shop:",
            "system:serviceaccount:shop:cron",
            "system:serviceaccount:shop:billing:",
            "system:serviceaccount:shop:billing ",
            "system:serviceaccount::shop:billing",
            "system:serviceaccounts:shop:billing",
            "x:system:serviceaccount:shop:billing",
            "System:ServiceAccount:shop:billing",
            "billing",
        ] {
            assert!(!scheme.allows(bad), "{bad}");
        }
    }

    #[test]
    fn nobody_is_let_in_without_a_review() {
        let verifier = Verifier::new(Scheme::ServiceAccount(scheme()), Vec::new()).unwrap();
        let mut headers = HeaderMap::new();
        let verify = |headers: &HeaderMap| verifier.verify(headers, Bytes::from_static(b"{}"), Timestamp::UNIX_EPOCH);
        assert!(verify(&headers).is_err());
        headers.insert(header::AUTHORIZATION, "Bearer system:serviceaccount:shop:billing".parse().unwrap());
        assert!(verify(&headers).is_err());
        assert_eq!(verifier.credential_headers().collect::<Vec<_>>(), [&header::AUTHORIZATION]);
        let body = Bytes::from_static(b"{}");
        let verify = |review: &Review| {
            let evidence = VerificationContext::Review(review.clone());
            verifier.verify_with(&evidence, &headers, body.clone(), Timestamp::UNIX_EPOCH)
        };
        assert!(verify(&review("shop:billing", &["x", "grapnel"])).is_ok());
        assert!(verify(&review("shop:other", &["grapnel"])).is_err());
        assert!(verify(&review("shop:billing", &["x"])).is_err(), "it was issued for somebody else");
        assert!(verify(&review("shop:billing", &[])).is_err());
    }

    #[test]
    fn a_review_lets_nobody_past_another_scheme() {
        let token = TokenScheme { header: header::AUTHORIZATION, scheme: None };
        let verifier = Verifier::new(Scheme::Token(token), vec![Secret::from("hunter2")]).unwrap();
        let evidence = VerificationContext::Review(review("shop:billing", &["grapnel"]));
        let verify =
            |headers: &HeaderMap| verifier.verify_with(&evidence, headers, Bytes::new(), Timestamp::UNIX_EPOCH);
        assert!(verify(&HeaderMap::new()).is_err());
    }

    #[test]
    fn the_token_is_in_one_header_of_one_scheme() {
        let token = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, header::HeaderValue::from_static(value));
            }
            scheme().token(&headers).map(str::to_owned)
        };
        assert_eq!(token(&["Bearer a.b.c"]).unwrap(), "a.b.c");
        assert_eq!(token(&["bearer  a.b.c "]).unwrap(), "a.b.c");
        assert_eq!(token(&[]).unwrap_err().code(), "missing_signature");
        for wrong in [
            &["Bearer a", "Bearer b"][..],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Basic YTpi"],
            &["Bearera"],
            &["Bearer a b"],
            &["Bearer a,b"],
        ] {
            let refusal = token(wrong).unwrap_err();
            assert_eq!(refusal.code(), "invalid_signature", "{wrong:?}");
            assert!(!refusal.to_string().contains("YTpi"));
        }
    }
}
