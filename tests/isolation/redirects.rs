//! What leads elsewhere without being asked: redirects, and proxies that the environment names.

use crate::{
    home::Home,
    program::Grapnel,
    rebinding::{manifests, send, until},
    world::{Dns, Everywhere, PUBLIC, assert_inside, inside, ok, status},
};

#[test]
fn redirects_are_not_followed_and_the_environments_proxies_not_used() {
    inside("redirects::elsewhere");
}

#[tokio::test]
#[ignore = "runs in the network that the test before it makes"]
async fn elsewhere() {
    assert_inside();
    let dns = Dns::start().await;
    dns.set("receiver.example", &[&[PUBLIC]]);
    let receiver = Everywhere::start(8080, |path| {
        let Some(code) = path.strip_prefix("/redirect/") else { return ok(path) };
        let (code, to) = code.split_once('/').unwrap();
        let mut response = status(code.parse().unwrap());
        let to = match to {
            "inside" => "http://10.0.0.7:8080/stolen",
            "metadata" => "http://169.254.169.254:8080/latest/meta-data/iam/security-credentials/",
            "file" => "file:///etc/passwd",
            _ => "/elsewhere",
        };
        response.headers_mut().insert("location", to.parse().unwrap());
        response
    })
    .await;
    let proxy = Everywhere::start(3128, ok).await;
    let cases: Vec<(String, String)> = [301, 302, 303, 307, 308]
        .into_iter()
        .flat_map(|code| ["inside", "metadata", "file", "same"].map(|to| (code, to)))
        .map(|(code, to)| (format!("r{code}-{to}"), format!("http://receiver.example:8080/redirect/{code}/{to}")))
        .collect();
    let mut targets: Vec<(&str, &str)> = cases.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
    targets.push(("plain", "http://receiver.example:8080/hook"));
    let home = Home::new();
    home.write("all.yaml", &manifests(&targets));
    let (manifests, data) = (home.manifests(), home.data());
    let environment: Vec<(&str, &str)> =
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
            .map(|name| (name, "http://10.0.0.7:3128"))
            .to_vec();
    let grapnel = Grapnel::start_in(
        &environment,
        ["standalone", "-f", manifests.to_str().unwrap(), "--data-dir", data.to_str().unwrap()],
    );
    send(&grapnel, "e").await;
    for (name, _) in &cases {
        let status = until(&grapnel, name, "a second attempt", |status| {
            status["lastFailure"]["statusCode"].is_u64() && status["retrying"] == 1
        })
        .await;
        let code = status["lastFailure"]["statusCode"].as_u64().unwrap();
        assert!(name.starts_with(&format!("r{code}-")), "{name}: {status}");
    }
    until(&grapnel, "plain", "its delivery", |status| status["delivered"] == 1).await;
    receiver.assert_only_public();
    let followed: Vec<_> = receiver.requests().into_iter().filter(|request| request.path.contains("else")).collect();
    assert!(followed.is_empty(), "{followed:?}");
    assert!(proxy.connections().is_empty(), "{:?}", proxy.connections());
}
