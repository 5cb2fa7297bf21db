//! A client that sends exactly the bytes it is told to.

use std::{collections::HashMap, net::SocketAddr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// A request to be written.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// `sha256=` and the hex of HMAC-SHA256, made here and not by the code under test.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

impl Post {
    pub(crate) fn to(path: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { line: format!("POST {path} HTTP/1.1"), headers: vec![("Host".into(), "test".into())], body: body.into() }
    }

    /// With the signature that the fixture's endpoints ask for.
    pub(crate) fn signed(path: &str, body: impl Into<Vec<u8>>) -> Self {
        let post = Self::to(path, body);
        let signature = sign(super::fixture::SECRET, &post.body);
        post.header("X-Hub-Signature-256", signature)
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.line = self.line.replacen("POST", method, 1);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n").into_bytes()
    }

    /// With a Content-Length.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.clone().header("Content-Length", self.body.len().to_string()).head();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// In chunks of at most `size` bytes, without a Content-Length.
    pub(crate) fn chunked(&self, size: usize) -> Vec<u8> {
        let mut bytes = self.clone().header("Transfer-Encoding", "chunked").head();
        for chunk in self.body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// Sent on a connection of its own.
    pub(crate) async fn send(&self, address: SocketAddr) -> Answer {
        Wire::open(address).await.exchange(&self.bytes()).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// Checks that this is a well-formed refusal and gives its sentence.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        let json = self.json();
        assert_eq!((self.status, json["code"].as_str()), (status, Some(code)), "{json}");
        let sentence = json["error"].as_str().unwrap().to_owned();
        assert!(!sentence.is_empty());
        sentence
    }

    /// Checks that an event was accepted for the first time and gives its id.
    pub(crate) fn accepted(&self) -> String {
        let json = self.json();
        let id = json["id"].as_str().unwrap_or_else(|| panic!("{} {json}", self.status)).to_owned();
        assert_eq!((self.status, self.text()), (200, format!(r#"{{"success":true,"id":"{id}"}}"#).as_str()));
        id
    }

    pub(crate) fn retry_after(&self) -> u64 {
        self.headers["retry-after"].parse().unwrap()
    }
}

/// A connection.
pub(crate) struct Wire<S = TcpStream> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn exchange(&mut self, bytes: &[u8]) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer(true).await.expect("an answer before the connection ends")
    }

    /// The next answer, to a request whose answer has no body whatever its headers say.
    pub(crate) async fn answer_to_head(&mut self) -> Answer {
        self.try_answer(false).await.expect("an answer before the connection ends")
    }

    /// The next answer, or `None` when the connection ends.
    pub(crate) async fn try_answer(&mut self, has_body: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.read.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = match headers.get("content-length") {
            Some(length) if has_body => length.parse().unwrap(),
            _ => 0,
        };
        while self.read.len() < length {
            assert!(self.more().await, "the connection ended within a body");
        }
        Some(Answer { status, headers, body: self.read.drain(..length).collect() })
    }

    /// Waits until the server has ended the connection, by closing or by resetting it.
    pub(crate) async fn ended(&mut self) {
        while self.more().await {}
        assert!(self.read.is_empty(), "unexpected: {:?}", String::from_utf8_lossy(&self.read));
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.read.extend_from_slice(&buffer[..length]);
                true
            }
        }
    }
}
