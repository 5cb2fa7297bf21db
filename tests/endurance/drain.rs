//! What a client sees of an orderly end, byte by byte.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    home::{self, MANIFEST, SECRET, orders},
    program::{Grapnel, PATIENCE, hmac_hex, receiver::Receiver},
};

fn head(id: &str, more: &str) -> (String, String) {
    let body = format!(r#"{{"id":"{id}"}}"#);
    let head = format!(
        "POST /default/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}\
         x-webhook-signature: {}\r\ncontent-length: {}\r\n\r\n",
        hmac_hex(SECRET, body.as_bytes()),
        body.len()
    );
    (head, body)
}

/// One answer with its body, as text.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut byte = [0];
        let read = timeout(PATIENCE, stream.read(&mut byte)).await.expect("an answer").unwrap();
        assert_eq!(read, 1, "the connection ended after {text:?}");
        text.push(char::from(byte[0]));
        if text.starts_with("HTTP/1.1 100") && text.ends_with("\r\n\r\n") || text.ends_with('}') {
            return text;
        }
    }
}

/// A connection with a request under way: its head is read, its body is not sent.
async fn in_progress(address: &str, id: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (head, body) = head(id, "expect: 100-continue\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 100"));
    (stream, body)
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection ends").unwrap();
    rest
}

async fn term(grapnel: &Grapnel) {
    grapnel.send_signal("TERM");
    grapnel.eventually("the shutdown", async || grapnel.log().contains("shutting down").then_some(())).await;
}

#[tokio::test]
async fn clients_close_and_requests_in_progress_are_answered() {
    let receiver = Receiver::start().await;
    let home = home::home(&orders(&receiver.url, "", ""));
    let grapnel = home.start();
    // One that keeps its connection and asks nothing at the moment, and one in the middle of its second request.
    let mut idle = TcpStream::connect(home.address()).await.unwrap();
    let (head, body) = head("idle", "");
    idle.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let first = answer(&mut idle).await;
    assert!(first.starts_with("HTTP/1.1 200") && !first.to_lowercase().contains("connection: close"), "{first}");
    let (mut busy, body) = in_progress(home.address(), "busy").await;
    term(&grapnel).await;

    assert_eq!(rest(&mut idle).await, b"", "an orderly end without an answer to nothing");
    busy.write_all(body.as_bytes()).await.unwrap();
    let last = answer(&mut busy).await;
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    assert!(last.to_lowercase().contains("connection: close"), "{last}");
    assert_eq!(rest(&mut busy).await, b"");
    let (status, log) = grapnel.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let refused = TcpStream::connect(home.address()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn http2_clients_are_told_to_go() {
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    let receiver = Receiver::start().await;
    let home = home::home(&orders(&receiver.url, "", ""));
    let grapnel = home.start();
    let mut stream = TcpStream::connect(home.address()).await.unwrap();
    // RFC 9113 section 3.4: the preface and an empty SETTINGS frame.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = async || {
        let mut head = [0; 9];
        timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("a frame").unwrap();
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        (head[3], payload)
    };
    assert_eq!(frame().await.0, SETTINGS);
    term(&grapnel).await;
    let payload = loop {
        if let (GOAWAY, payload) = frame().await {
            break payload;
        }
    };
    // RFC 9113 section 6.8: the last stream, then the error code.
    assert_eq!(payload[4..8], [0, 0, 0, 0], "NO_ERROR");
    drop(stream);
    let (status, log) = grapnel.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

/// Whatever holds the end up, webhooks come in until the deliveries under way have ended.
#[tokio::test]
async fn webhooks_come_in_while_a_slow_receiver_is_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}", silent.local_addr().unwrap());
    let home = home::home(&orders(&target, "", ""));
    let grapnel = home.start();
    let post = async |id: &str| {
        let body = format!(r#"{{"id":"{id}"}}"#);
        let signature = hmac_hex(SECRET, body.as_bytes());
        grapnel.post("/default/orders", &[("x-webhook-signature", &signature)], body).await.0
    };
    assert_eq!(post("slow").await, 200);
    let (mut delivery, _) = timeout(PATIENCE, silent.accept()).await.expect("a delivery").unwrap();
    term(&grapnel).await;
    assert_eq!(post("late").await, 200);
    // Now it is answered.
    let mut request = [0; 64];
    delivery.read_exact(&mut request).await.unwrap();
    delivery.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    let (status, log) = grapnel.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    // What came in late is delivered by the next process, and the slow one, which would come first, is not delivered again.
    let receiver = Receiver::start().await;
    home.write(MANIFEST, &orders(&receiver.url, "", ""));
    let _grapnel = home.start();
    assert_eq!(receiver.next().await.header("webhook-id"), "late");
}
