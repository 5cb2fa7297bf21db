//! Authenticates and authorizes callers by the API server: TokenReview and SubjectAccessReview.
//!
//! Results are cached for a short time by the digest of the question: no token is kept. Tokens that cannot be valid are
//! rejected without a call, and calls are bounded, so that made-up tokens cannot overload the API server. Callers of
//! endpoints and users of the admin API have separate caches: a flood of one does not hold up the other.

mod review_cache;

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use grapnel_signature::jws::{Claims, is_bearer_token};
use grapnel_values::clock::Clock;
use http::{Request, header::CONTENT_TYPE};
use jiff::Timestamp;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::Client;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use self::review_cache::{Bounds, Key, ReviewCache, ReviewUnavailable};
use crate::{
    admin::authz::{Ask, Authority, Denied, Resource},
    controller::limits,
    ingress::{Callers, Review, ReviewError},
};

const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS_REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// Reviews tokens and access by calling the API server.
pub struct Reviews {
    client: Client,
    clock: Arc<dyn Clock>,
    /// Tokens sent to endpoints.
    callers: Arc<ReviewCache<Review>>,
    /// Tokens sent to the admin API.
    users: Arc<ReviewCache<Arc<User>>>,
    /// The access of those users.
    access: Arc<ReviewCache<()>>,
}

/// The user of a token, in the form that SubjectAccessReview requires.
#[derive(Debug)]
struct User {
    name: Arc<str>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

impl Reviews {
    /// Reviews by one API server. The client should not retry by itself: every review has a timeout, and callers are
    /// asked to retry.
    pub fn new(client: Client, clock: Arc<dyn Clock>) -> Arc<Self> {
        let callers = Bounds {
            yes_entries: limits::CALLERS_ACCEPTED,
            yes_for: limits::CALLER_ACCEPTED_FOR,
            no_entries: limits::CALLERS_REFUSED,
            no_for: limits::CALLER_REFUSED_FOR,
            at_once: limits::CALLER_REVIEWS_AT_ONCE,
            waiting: limits::REVIEWS_WAITING,
        };
        let admin = Bounds {
            yes_entries: limits::ADMIN_USERS,
            yes_for: limits::ADMIN_ALLOWED_FOR,
            no_entries: limits::ADMIN_USERS,
            no_for: limits::ADMIN_DENIED_FOR,
            at_once: limits::ADMIN_REVIEWS_AT_ONCE,
            waiting: limits::REVIEWS_WAITING,
        };
        Arc::new(Self {
            client,
            callers: ReviewCache::new(callers, Arc::clone(&clock)),
            users: ReviewCache::new(admin, Arc::clone(&clock)),
            access: ReviewCache::new(admin, Arc::clone(&clock)),
            clock,
        })
    }

    /// Whether a token with this expiry has expired. The API server's clock may differ, and it accepts tokens slightly
    /// longer itself, so a token that has only just expired is still reviewed.
    fn is_over(&self, expires: Option<Timestamp>) -> bool {
        let over = expires.and_then(|expires| expires.checked_add(limits::REVIEW_LEEWAY).ok());
        over.is_some_and(|over| over <= self.clock.now())
    }

    async fn caller(&self, token: &str, audiences: &[Box<str>]) -> Result<Review, ReviewError> {
        if token.len() > limits::REVIEW_TOKEN_BYTES {
            return Err(ReviewError::Malformed);
        }
        let key = key("caller", token, audiences.iter().map(|audience| &**audience));
        if let Some(known) = self.callers.known(&key) {
            return known.ok_or(ReviewError::Refused);
        }
        let claims = Claims::unverified(token).ok_or(ReviewError::Malformed)?;
        if self.is_over(claims.expires) {
            return Err(ReviewError::Expired);
        }
        if !claims.may_be_for(audiences) {
            return Err(ReviewError::Audience);
        }
        let call = || {
            let client = self.client.clone();
            let shown = Shown::new(token, audiences);
            let audiences: Vec<Box<str>> = audiences.to_vec();
            async move {
                let Some((user, granted)) = shown.review(&client).await? else { return Ok(None) };
                // An API server whose authenticator does not support audiences returns none; then the token is not for
                // this audience.
                let granted: Vec<Box<str>> =
                    audiences.into_iter().filter(|own| granted.iter().any(|it| **own == *it)).collect();
                let username = user.username.unwrap_or_default();
                let good = !username.is_empty() && !granted.is_empty();
                Ok(good.then(|| Review { username: username.into(), audiences: granted.into() }))
            }
        };
        match self.callers.answer(key, claims.expires, call).await {
            Ok(review) => review.ok_or(ReviewError::Refused),
            Err(_) => Err(ReviewError::Unavailable),
        }
    }

    async fn user(&self, token: &str) -> Result<Arc<User>, Denied> {
        if token.len() > limits::REVIEW_TOKEN_BYTES || !is_bearer_token(token) {
            return Err(Denied::NotAuthenticated);
        }
        let key = key("user", token, []);
        let expires = Claims::unverified(token).and_then(|claims| claims.expires);
        if self.is_over(expires) {
            return Err(Denied::NotAuthenticated);
        }
        let call = || {
            let client = self.client.clone();
            let shown = Shown::new(token, &[]);
            async move {
                let Some((user, _)) = shown.review(&client).await? else { return Ok(None) };
                let UserInfo { username, uid, groups, extra } = user;
                let name = username.filter(|name| !name.is_empty());
                Ok(name.map(|name| Arc::new(User { name: name.into(), uid, groups, extra })))
            }
        };
        match self.users.answer(key, expires, call).await {
            Ok(user) => user.ok_or(Denied::NotAuthenticated),
            Err(_) => Err(Denied::Unavailable),
        }
    }

    async fn admit(&self, token: &str, ask: &Ask) -> Result<Arc<str>, Denied> {
        let user = self.user(token).await?;
        let parts = [
            Some(ask.verb.as_str()),
            Some(ask.resource.plural()),
            ask.resource.subresource(),
            ask.namespace.as_deref(),
            ask.name.as_deref(),
        ];
        let key = key("access", token, parts.into_iter().map(Option::unwrap_or_default));
        let call = || {
            let client = self.client.clone();
            let review = access_review(&user, ask);
            async move {
                let answer: SubjectAccessReview = create(&client, ACCESS_REVIEWS, &review).await?;
                let status = answer.status.ok_or(ReviewUnavailable::Answer)?;
                Ok((status.allowed && status.denied != Some(true)).then_some(()))
            }
        };
        match self.access.answer(key, None, call).await {
            Ok(Some(())) => Ok(Arc::clone(&user.name)),
            Ok(None) => Err(Denied::Forbidden { user: Arc::clone(&user.name) }),
            Err(_) => Err(Denied::Unavailable),
        }
    }
}

impl Callers for Reviews {
    fn review<'a>(&'a self, token: &'a str, audiences: &'a [Box<str>]) -> BoxFuture<'a, Result<Review, ReviewError>> {
        self.caller(token, audiences).boxed()
    }
}

impl Authority for Reviews {
    fn allow<'a>(&'a self, token: &'a str, ask: &'a Ask) -> BoxFuture<'a, Result<Arc<str>, Denied>> {
        self.admit(token, ask).boxed()
    }
}

/// The cache key of a question. Every part is preceded by its length, so that different questions have different keys.
fn key<'a>(sort: &'a str, token: &'a str, parts: impl IntoIterator<Item = &'a str>) -> Key {
    let mut digest = Sha256::new();
    for part in [sort, token].into_iter().chain(parts) {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn access_review(user: &User, ask: &Ask) -> SubjectAccessReview {
    let (verb, what) = (Some(ask.verb.as_str().to_owned()), Some(ask.resource.plural().to_owned()));
    let path = ask.resource == Resource::Metrics;
    let non_resource_attributes = path.then(|| NonResourceAttributes { path: what.clone(), verb: verb.clone() });
    let resource_attributes = (!path).then(|| ResourceAttributes {
        group: Some(grapnel_api::GROUP.to_owned()),
        resource: what,
        subresource: ask.resource.subresource().map(str::to_owned),
        verb,
        namespace: ask.namespace.as_deref().map(str::to_owned),
        name: ask.name.as_deref().map(str::to_owned),
        ..ResourceAttributes::default()
    });
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            resource_attributes,
            non_resource_attributes,
            user: Some(user.name.to_string()),
            uid: user.uid.clone(),
            groups: user.groups.clone(),
            extra: user.extra.clone(),
        },
        ..SubjectAccessReview::default()
    }
}

/// A review that contains a token, which is zeroed on drop.
struct Shown(TokenReview);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.spec.token.zeroize();
    }
}

impl Shown {
    /// A review of a token for these audiences; for the API server's own if there are none.
    fn new(token: &str, audiences: &[Box<str>]) -> Self {
        let audiences =
            (!audiences.is_empty()).then(|| audiences.iter().map(|audience| audience.to_string()).collect());
        let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences };
        Self(TokenReview { spec, ..TokenReview::default() })
    }

    /// The user and the audiences of the token, or `None` if it is not valid.
    async fn review(&self, client: &Client) -> Result<Option<(UserInfo, Vec<String>)>, ReviewUnavailable> {
        // The response repeats the token.
        let mut answer = Self(create(client, TOKEN_REVIEWS, &self.0).await?);
        let status = answer.0.status.take().ok_or(ReviewUnavailable::Answer)?;
        if status.authenticated != Some(true) {
            return Ok(None);
        }
        Ok(Some((status.user.unwrap_or_default(), status.audiences.unwrap_or_default())))
    }
}

/// Posts an object and reads the response. `kube::Api` is not used, because it logs a response that it cannot parse,
/// including the token in it.
async fn create<T: Serialize + DeserializeOwned>(
    client: &Client,
    path: &str,
    object: &T,
) -> Result<T, ReviewUnavailable> {
    let body = serde_json::to_vec(object).map_err(|_| ReviewUnavailable::Answer)?;
    let request = Request::post(path).header(CONTENT_TYPE, "application/json").body(body);
    let request = request.map_err(|_| ReviewUnavailable::Answer)?;
    let answer = client.request_text(request).await.map_err(|error| match error {
        // Its message may quote the request.
        kube::Error::Api(status) if status.code == 403 => ReviewUnavailable::Forbidden,
        kube::Error::Api(status) => ReviewUnavailable::Refused(status.code),
        error => ReviewUnavailable::Unreachable(error.to_string().into()),
    })?;
    serde_json::from_str(&Zeroizing::new(answer)).map_err(|_| ReviewUnavailable::Answer)
}
