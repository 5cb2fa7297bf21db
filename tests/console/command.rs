//! `grapnel console`: who gets in.

use std::process::Stdio;

use grapnel_test_support::{home::Home, program};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect::Policy};

use crate::{Console, Shop, browser::Browser, manifests};

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

async fn refused(request: RequestBuilder, status: StatusCode) -> String {
    let response = request.send().await.unwrap();
    let found = response.status();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    text
}

/// The cookie that a login sets.
fn cookie(response: &Response) -> String {
    let header = response.headers()["set-cookie"].to_str().unwrap();
    assert!(header.contains("; HttpOnly; SameSite=Strict") && !header.contains("Domain"), "{header}");
    header.split_once(';').unwrap().0.to_owned()
}

#[tokio::test]
async fn the_token_lets_in_one_browser_once() {
    let shop = Shop::open().await;
    let console = Console::start(&shop.grapnel.admin, &["--namespace", "shop"]).await;
    let (client, origin) = (client(), console.origin());
    let page = format!("{origin}/console/subscriptions/shop/billing");
    assert!(refused(client.get(&page), StatusCode::UNAUTHORIZED).await.contains("Open the URL"));
    for wrong in ["", "?token=", "?token=x", &format!("?token={}", "0".repeat(64))] {
        let text = refused(client.get(format!("{origin}/login{wrong}")), StatusCode::UNAUTHORIZED).await;
        assert!(text.contains("not the one"), "{text}");
    }
    let login = client.get(&console.url).send().await.unwrap();
    assert_eq!(login.status(), StatusCode::OK);
    let cookie = cookie(&login);
    let text = login.text().await.unwrap();
    assert!(text.contains("url=/?namespace=shop\""), "{text}");
    let again = refused(client.get(&console.url), StatusCode::UNAUTHORIZED).await;
    assert!(again.contains("signed in a browser already"), "{again}");

    let get = |url: &str| client.get(url).header("cookie", &cookie);
    let response = get(&page).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("content-security-policy"));
    let text = response.text().await.unwrap();
    let token = text.split_once("name=\"csrf\" value=\"").unwrap().1.split_once('"').unwrap().0;

    // Another name of this machine (DNS rebinding), another cookie, another site, and what is not a page.
    let port = origin.rsplit_once(':').unwrap().1;
    for host in [
        "attacker.example".to_owned(),
        format!("attacker.example:{port}"),
        "127.0.0.1".to_owned(),
        "127.0.0.1:1".to_owned(),
    ] {
        let text = refused(get(&page).header("host", host), StatusCode::FORBIDDEN).await;
        assert!(text.contains(origin), "{text}");
    }
    assert_eq!(get(&page).header("host", format!("localhost:{port}")).send().await.unwrap().status(), StatusCode::OK);
    let (name, value) = cookie.split_once('=').unwrap();
    let forged = [format!("{name}={}", "0".repeat(64)), format!("other={value}"), name.to_owned(), String::new()];
    for forged in forged {
        refused(client.get(&page).header("cookie", forged), StatusCode::UNAUTHORIZED).await;
    }
    for path in ["/api/v1/objects", "/metrics", "/healthz", "/console"] {
        refused(get(&format!("{origin}{path}")), StatusCode::NOT_FOUND).await;
    }
    let order = |origin: Option<&str>| {
        let form = client.post(format!("{page}/redeliver")).header("cookie", &cookie);
        let form = form.header("content-type", "application/x-www-form-urlencoded");
        let form = form.body(format!("csrf={token}&select=deadLettered"));
        match origin {
            Some(origin) => form.header("origin", origin),
            None => form,
        }
    };
    for other in [None, Some("null"), Some("http://attacker.example"), Some("http://127.0.0.1:1")] {
        let text = refused(order(other), StatusCode::FORBIDDEN).await;
        assert!(text.contains("another site"), "{text}");
    }
    assert_eq!(order(Some(origin)).send().await.unwrap().status(), StatusCode::OK);

    // The operator goes away.
    drop(shop);
    let text = refused(get(&page), StatusCode::BAD_GATEWAY).await;
    assert!(text.contains("cannot reach the operator"), "{text}");
}

#[tokio::test]
async fn a_browser_that_was_sent_by_another_site_is_signed_in_too() {
    let shop = Shop::open().await;
    let console = Console::start(&shop.grapnel.admin, &[]).await;
    let mut browser = Browser::start().await;
    // The page of the operator itself is another site for the browser if it is called by another name.
    let elsewhere = shop.grapnel.admin.replace("127.0.0.1", "localhost");
    browser.goto(&elsewhere).await;
    browser.ask::<serde_json::Value>("leave", serde_json::json!({ "url": console.url })).await;
    browser.see("shop/orders").await;
    let cookies: Vec<serde_json::Value> = browser.ask("cookies", serde_json::json!({})).await;
    assert!(cookies.iter().all(|it| it["httpOnly"] == true && it["sameSite"] == "Strict"), "{cookies:?}");
    assert_eq!(cookies.len(), 1, "{cookies:?}");
}

#[tokio::test]
async fn the_browser_gets_in_by_a_token_that_it_never_has() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "the-admin-token").unwrap();
    let path = file.path().to_str().unwrap();
    let home = Home::new().with(&["--admin-token-file", path]);
    home.write("shop.yaml", &manifests("http://127.0.0.1:1"));
    let grapnel = home.start();
    let (code, stderr) = fails(&["--admin-url", &grapnel.admin]).await;
    assert!(code == Some(1) && stderr.contains("does not accept these credentials"), "{stderr}");
    let console = Console::start(&grapnel.admin, &["--token-file", path]).await;
    let login = client().get(&console.url).send().await.unwrap();
    let cookie = cookie(&login);
    let page = client().get(format!("{}/", console.origin())).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let shown = format!("{:?}{}", page.headers().clone(), page.text().await.unwrap());
    assert!(shown.contains("a holder of the admin token") && !shown.contains("the-admin-token"), "{shown}");
    // A token that is replaced meanwhile.
    std::fs::write(file.path(), "another").unwrap();
    let page = client().get(format!("{}/", console.origin())).header("cookie", &cookie).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
}

/// Exit code and standard error of a command that does not start.
async fn fails(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::from(program::command());
    command.args(["console", "--no-open"]).args(arguments).stdout(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(grapnel_test_support::PATIENCE, command.output()).await.unwrap().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let shop = Shop::open().await;
    let admin = &*shop.grapnel.admin;
    let (code, stderr) = fails(&["--admin-url", "http://127.0.0.1:1"]).await;
    assert!(code == Some(1) && stderr.contains("cannot reach the operator at http://127.0.0.1:1/"), "{stderr}");
    let (code, stderr) = fails(&["--admin-url", &shop.grapnel.webhooks]).await;
    assert!(code == Some(1) && stderr.contains("has no console"), "{stderr}");
    let (code, stderr) = fails(&["--admin-url", admin, "--listen", "0.0.0.0:0"]).await;
    assert!(code == Some(2) && stderr.contains("this machine only"), "{stderr}");
    let (code, stderr) = fails(&["--admin-url", admin, "--listen", admin.strip_prefix("http://").unwrap()]).await;
    assert!(code == Some(1) && stderr.contains("cannot listen on"), "{stderr}");
}
