//! Content of strangers in a browser: nothing of it runs, leads elsewhere, or moves what is around it.

use serde_json::{Value, json};

use crate::{Shop, browser::Browser};

/// What runs if it gets out of its place.
const SCRIPT: &str =
    "\"'><script>alert(1)</script><img src=//stranger.example/x onerror=alert(2)><svg onload=alert(3)>";

/// As `invoice_gpj.exe` in a program that follows the mark.
const REVERSED: &str = "invoice_\u{202e}exe.jpg";

#[tokio::test]
async fn what_strangers_send_is_only_shown() {
    let shop = Shop::open().await;
    let mut browser = Browser::start().await;
    let endpoint = format!("{}/console/endpoints/shop/orders", shop.grapnel.admin);
    browser.goto(&endpoint).await;
    browser.see("New events appear here.").await;
    // Through the live view, and then from the list.
    shop.send_body(json!({ "id": SCRIPT, "type": SCRIPT, "note": SCRIPT }).to_string()).await;
    shop.send_body(json!({ "id": REVERSED, "type": "file", "name": REVERSED }).to_string()).await;
    shop.send_body(json!({ "id": "..", "type": "t" }).to_string()).await;
    let line = "x".repeat(900 << 10);
    shop.send_body(json!({ "id": "line", "type": "t", "line": line }).to_string()).await;
    for round in ["live", "list"] {
        let text = browser.see("<img src=//stranger.example/x onerror=alert(2)>").await;
        assert!(text.contains("invoice_U+202Eexe.jpg"), "{round}: {text}");
        browser.see("line").await;
        if round == "list" {
            browser.assert_usable().await;
        }
        for (id, shown) in [(SCRIPT, "<svg onload=alert(3)>"), (REVERSED, "invoice_U+202Eexe.jpg"), ("..", "Sequence")]
        {
            browser.link(&id.replace('\u{202e}', "U+202E")).await;
            browser.see("Payload").await;
            let text = browser.see(shown).await;
            assert!(!text.contains('\u{202e}'), "{text}");
            browser.goto(&endpoint).await;
            browser.see("Events").await;
        }
        assert_eq!(browser.count("main img, main svg:not(.chart), main script, main iframe").await, 0);
        browser.goto(&endpoint).await;
    }
    browser.link("line").await;
    let text = browser.see("Only the first 64.0 KiB are shown").await;
    assert!(text.len() < 80 << 10);
    browser.assert_usable().await;
    let download: Value = browser.ask("download", json!({ "name": "Download" })).await;
    assert!(download["bytes"].as_u64().unwrap() > 900 << 10 && download["name"] == "event-4.bin", "{download}");
    browser.goto(&format!("{}/console/subscriptions/shop/billing", shop.grapnel.admin)).await;
    browser.reload_until("dead letter").await;
    browser.assert_usable().await;
    browser.assert_confined_to(&shop.grapnel.admin).await;
}
