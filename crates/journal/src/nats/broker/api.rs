//! Requests to JetStream's API: JSON both ways.

use std::time::Duration;

use async_nats::HeaderMap;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Broker, BrokerError};

/// An error in an answer.
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Failed {
    error: Option<ApiError>,
}

impl ApiError {
    /// The code of JetStream, or that of HTTP in answers that have no other.
    pub(super) fn split(self) -> (u64, String) {
        (if self.err_code == 0 { self.code } else { self.err_code }, self.description)
    }
}

impl From<ApiError> for BrokerError {
    fn from(error: ApiError) -> Self {
        let (code, text) = error.split();
        Self::Refused { code, text }
    }
}

impl Broker {
    /// Calls `$JS.API.{call}`.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        call: String,
        request: &impl Serialize,
        timeout: Duration,
    ) -> Result<T, BrokerError> {
        let payload = serde_json::to_vec(request).map_err(|error| BrokerError::Invalid(error.to_string()))?;
        let answer = self.exchange(format!("$JS.API.{call}"), HeaderMap::new(), payload.into(), timeout).await?;
        let malformed = |error: serde_json::Error| BrokerError::Malformed(error.to_string());
        let failed: Failed = serde_json::from_slice(&answer.payload).map_err(malformed)?;
        match failed.error {
            Some(error) => Err(error.into()),
            None => serde_json::from_slice(&answer.payload).map_err(malformed),
        }
    }
}
