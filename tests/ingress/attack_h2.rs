//! Clients that abuse HTTP/2 (RFC 9113), frame by frame.

use std::time::Duration;

use grapnel::ingress::limits::H2_STREAMS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    client::{Post, Wire},
    fixture::{Plan, Served, endpoint},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const REFUSED_STREAM: u32 = 7;

/// A frame (section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The preface and empty settings.
pub(crate) fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// A field that is not remembered, in plain letters (RFC 7541 section 6.2.2).
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name.as_bytes(), value] {
        // Longer ones need more bytes for their length (section 5.1).
        if text.len() < 127 {
            field.push(u8::try_from(text.len()).unwrap());
        } else {
            field.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                field.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            field.push(u8::try_from(rest).unwrap());
        }
        field.extend(text);
    }
    field
}

fn fields(path: &str) -> Vec<u8> {
    let pseudo: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)];
    pseudo.iter().flat_map(|(name, value)| field(name, value.as_bytes())).collect()
}

/// The head of a POST.
pub(crate) fn request(stream: u32, path: &str, end: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &fields(path))
}

/// A POST with some fields more.
fn request_with(stream: u32, more: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = fields("/shop/orders");
    block.extend(more.iter().flat_map(|(name, value)| field(name, value)));
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// Streams of a client are numbered oddly.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

/// Requests that are reset as soon as they are made.
pub(crate) fn rapid_reset(count: u32) -> Vec<u8> {
    streams(count).flat_map(|stream| [request(stream, "/shop/orders", false), reset(stream)].concat()).collect()
}

/// Pings that want an answer each.
pub(crate) fn pings(count: usize) -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8]).repeat(count)
}

/// A head that goes on and on.
pub(crate) fn endless_head() -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_STREAM, 1, &fields("/shop/orders"));
    for number in 0..500 {
        bytes.extend(frame(CONTINUATION, 0, 1, &field("x", format!("{number:0100}").as_bytes())));
    }
    bytes
}

/// What the server has sent.
#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The next frame; `None` when the connection has ended.
async fn next(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.ok()?;
    let number = u32::from_be_bytes(head[5..].try_into().unwrap());
    Some(Frame { kind: head[3], stream: number, payload })
}

/// Sends as much as the server takes, while everything that it sends is read; what it sent until the connection ended.
async fn until_the_end(served: &Served, bytes: Vec<u8>) -> Vec<Frame> {
    let (mut read, mut write) = tokio::net::TcpStream::connect(served.address).await.unwrap().into_split();
    // The server may end before it has read all of it.
    let sending = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        write
    });
    let mut frames = Vec::new();
    while let Some(frame) = next(&mut read).await {
        frames.push(frame);
    }
    drop(sending.await.unwrap());
    frames
}

async fn still_works(served: &Served) {
    let post = Post::signed("/shop/orders", r#"{"id":"after"}"#);
    assert_eq!(post.send(served.address).await.accepted(), "after");
    assert_eq!(served.stored("orders").await.len(), 1, "and nothing else was stored");
}

/// With a signed body, as it would be sent by somebody who has seen one.
fn signed(stream: u32, id: &str) -> Vec<u8> {
    let post = Post::signed("/shop/orders", format!(r#"{{"id":"{id}"}}"#));
    let signature = &post.headers.iter().find(|(name, _)| name == "X-Hub-Signature-256").unwrap().1;
    let mut block = fields("/shop/orders");
    block.extend(field("x-hub-signature-256", signature.as_bytes()));
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &block);
    bytes.extend(frame(DATA, END_STREAM, stream, &post.body));
    bytes
}

/// The frames written here are those that the server understands, or nothing below would mean anything.
#[tokio::test]
async fn an_honest_request_is_answered() {
    let served = Served::one().await;
    let mut wire = Wire::open(served.address).await;
    wire.send(&opening()).await;
    wire.send(&signed(1, "honest")).await;
    let answer = loop {
        let frame = next(&mut wire.stream).await.unwrap();
        if frame.kind == DATA {
            break frame;
        }
    };
    assert_eq!(answer.payload, br#"{"success":true,"id":"honest"}"#);
    assert_eq!(served.stored("orders").await.len(), 1);
}

/// CVE-2023-44487, "rapid reset".
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let served = Served::one().await;
    let bytes = [opening(), rapid_reset(10_000)].concat();
    let frames = until_the_end(&served, bytes).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() != 0), "{} frames", frames.len());
    still_works(&served).await;
}

/// CVE-2025-8671, "made you reset": the client makes the server reset its streams, by frames that are wrong.
#[tokio::test]
async fn streams_that_the_server_has_to_reset_end_the_connection() {
    let served = Served::one().await;
    let mut bytes = opening();
    for stream in streams(10_000) {
        bytes.extend(request(stream, "/shop/orders", false));
        // An increment of 0 is an error of the stream (section 6.9).
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
    }
    let frames = until_the_end(&served, bytes).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() != 0), "{} frames", frames.len());
    still_works(&served).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let served = Served::one().await;
    let mut wire = Wire::open(served.address).await;
    let mut bytes = opening();
    for stream in streams(H2_STREAMS + 50) {
        bytes.extend(request(stream, "/shop/orders", false));
    }
    wire.send(&bytes).await;
    let mut refused = Vec::new();
    while refused.len() < 50 {
        let frame = next(&mut wire.stream).await.unwrap();
        if frame.kind == RST_STREAM {
            assert_eq!(frame.code(), REFUSED_STREAM);
            refused.push(frame.stream);
        }
    }
    let beyond: Vec<_> = streams(H2_STREAMS + 50).skip(H2_STREAMS as usize).collect();
    assert_eq!(refused, beyond, "those beyond, and no others");
    still_works(&served).await;
}

/// CVE-2024-27316 and its relatives: a head that never ends.
#[tokio::test]
async fn endless_continuations_end_the_connection() {
    let served = Served::one().await;
    let mut bytes = opening();
    bytes.extend(frame(HEADERS, END_STREAM, 1, &fields("/shop/orders")));
    for number in 0..20_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &field("x", format!("{number:0100}").as_bytes())));
    }
    let frames = until_the_end(&served, bytes).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() != 0), "{} frames", frames.len());
    still_works(&served).await;
}

/// A head that is small on the wire and large when it is unpacked: one long field, remembered by the table of RFC 7541
/// and then referred to by one byte a time.
#[tokio::test]
async fn compressed_heads_are_bounded_by_what_they_unpack_to() {
    let served = Served::one().await;
    let mut block = fields("/shop/orders");
    let mut remembered = field("x", &[b'y'; 4000]);
    remembered[0] = 0x40;
    block.extend(remembered);
    // The first entry of the dynamic table has index 62.
    block.extend([0x80 | 62; 12_000]);
    let mut bytes = opening();
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    let mut wire = Wire::open(served.address).await;
    wire.send(&bytes).await;
    // Refused by status 431, or by an error of the stream or the connection.
    loop {
        let Some(frame) = next(&mut wire.stream).await else { break };
        match frame.kind {
            // 431 is in no table, so it is there as text.
            HEADERS => {
                assert_eq!(frame.stream, 1);
                break;
            }
            RST_STREAM | GOAWAY => break,
            _ => {}
        }
    }
    assert!(served.facts("orders").rejected == 0 && served.stored("orders").await.is_empty(), "it went no further");
    still_works(&served).await;
}

async fn impatient() -> Served {
    let mut plan = Plan::of([endpoint("orders")]);
    plan.options.head_timeout = Duration::from_millis(300);
    plan.options.idle_timeout = Duration::from_millis(600);
    plan.serve().await
}

/// Frames that ask for nothing keep no connection alive, whether the answers to them are read or not.
#[tokio::test]
async fn floods_of_frames_end_in_time() {
    let served = impatient().await;
    let empty = frame(SETTINGS, 0, 0, &[]);
    let ping = frame(PING, 0, 0, &[7; 8]);
    let window = frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes());
    // An unknown kind of frame must be ignored (section 4.1).
    let unknown = frame(0xee, 0, 0, &[0; 100]);
    for (what, flood) in [("settings", &empty), ("ping", &ping), ("window", &window), ("unknown", &unknown)] {
        for reads in [true, false] {
            let (mut read, mut write) = tokio::net::TcpStream::connect(served.address).await.unwrap().into_split();
            let reading = tokio::spawn(async move {
                if reads {
                    while next(&mut read).await.is_some() {}
                }
                read
            });
            let _ = write.write_all(&opening()).await;
            // Paced: it is the end that is looked for, not the speed.
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            let burst = flood.repeat(100);
            while write.write_all(&burst).await.is_ok() {
                ticks.tick().await;
            }
            drop(reading.await.unwrap_or_else(|error| panic!("{what}: {error}")));
        }
    }
    still_works(&served).await;
}

/// Answers that the client does not take hold nothing for long.
#[tokio::test]
async fn a_client_that_takes_no_answers_is_left_in_time() {
    let served = impatient().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE of 0 (section 6.5.2).
    bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for stream in streams(100) {
        bytes.extend(request(stream, "/shop/orders", true));
    }
    let frames = until_the_end(&served, bytes).await;
    assert!(frames.iter().all(|frame| frame.kind != DATA || frame.payload.is_empty()));
    assert_eq!(served.facts("orders").rejected, 100, "each was judged");
    still_works(&served).await;
}

/// CVE-2019-9518: a body of nothing but empty frames is work without an end.
#[tokio::test]
async fn bodies_of_empty_frames_end_the_connection() {
    let served = Served::one().await;
    let mut bytes = opening();
    bytes.extend(request(1, "/shop/orders", false));
    bytes.extend(frame(DATA, 0, 1, &[]).repeat(100_000));
    let frames = until_the_end(&served, bytes).await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY && frame.code() != 0), "{} frames", frames.len());
    still_works(&served).await;
}

/// What would be another request, or another header, once somebody turned it into HTTP/1.1 (section 8.2.1).
#[tokio::test]
async fn fields_that_would_smuggle_are_refused() {
    let served = Served::one().await;
    let wrong: [&[(&str, &[u8])]; 10] = [
        &[("x", b"a\r\nx-hub-signature-256: sha256=00")],
        &[("x", b"a\nb")],
        &[("x", b"a\0b")],
        &[("x\r\ny", b"z")],
        &[("x: y", b"z")],
        &[("X-Upper", b"y")],
        &[("transfer-encoding", b"chunked")],
        &[("connection", b"keep-alive")],
        &[("content-length", b"5")],
        &[(":path", b"/shop/other")],
    ];
    for fields in wrong {
        let mut wire = Wire::open(served.address).await;
        wire.send(&opening()).await;
        wire.send(&request_with(1, fields)).await;
        loop {
            match next(&mut wire.stream).await {
                Some(frame) if frame.kind == RST_STREAM || frame.kind == GOAWAY => break,
                Some(frame) => assert!(frame.kind != HEADERS, "answered: {:?}", fields[0].0),
                None => break,
            }
        }
    }
    assert_eq!(served.facts("orders").rejected, 0, "none was taken for a request");
    still_works(&served).await;
}
