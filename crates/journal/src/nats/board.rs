//! The board of the replicas, on the META stream.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    broker::{Expected, Message, Publication, PublishError},
    error::{from_broker, from_publish},
    replica::Replica,
};
use crate::{Board, BoardRow, Result, limits::NATS_PUBLISH_TRY};

/// The key of every row of the board begins with this.
const BOARD: &str = "board.";

/// The key of every row of a live replica begins with this.
const MEMBER: &str = "member.";

/// The rows below `p.m.board.<author>.<key>`.
pub(super) struct NatsBoard(pub(super) Arc<Replica>);

impl NatsBoard {
    async fn rows(&self, prefix: &str) -> Result<Vec<Message>> {
        let replica = &self.0;
        replica.check_running()?;
        let filter = replica.layout.row(&format!("{prefix}>"));
        replica.broker.rows(&replica.layout.meta_stream(), &filter).await.map_err(from_broker)
    }

    fn row(&self, message: Message) -> Option<BoardRow> {
        let (author, key) = self.0.layout.key_of_row(&message.subject)?.strip_prefix(BOARD)?.split_once('.')?;
        let (author, key) = (author.to_owned(), key.to_owned());
        Some(BoardRow { author, key, value: message.payload, revision: message.sequence })
    }
}

#[async_trait]
impl Board for NatsBoard {
    fn replica(&self) -> &str {
        &self.0.options.replica
    }

    async fn replicas(&self) -> Result<Vec<String>> {
        let rows = self.rows(MEMBER).await?;
        let name = |message: &Message| Some(self.0.layout.key_of_row(&message.subject)?.strip_prefix(MEMBER)?.to_owned());
        let mut names: Vec<String> = rows.iter().filter_map(name).collect();
        if !names.iter().any(|name| name == self.replica()) {
            names.push(self.replica().to_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    async fn read(&self, after: u64) -> Result<Vec<BoardRow>> {
        let rows = self.rows(BOARD).await?;
        Ok(rows.into_iter().filter(|message| message.sequence > after).filter_map(|message| self.row(message)).collect())
    }

    async fn write(&self, author: &str, key: &str, value: Bytes, expected: Option<u64>) -> Result<Option<u64>> {
        let replica = &self.0;
        replica.check_running()?;
        let publication = Publication {
            subject: replica.layout.row(&format!("{BOARD}{author}.{key}")),
            headers: Vec::new(),
            payload: value,
            expected: expected.map(Expected::LastOnSubject),
            ttl: None,
        };
        match replica.broker.publish(&publication, NATS_PUBLISH_TRY).await {
            Ok(revision) => Ok(Some(revision)),
            Err(PublishError::WrongLast(_)) => Ok(None),
            Err(error) => Err(from_publish(error)),
        }
    }

    async fn remove(&self, author: &str) -> Result<()> {
        let stream = self.0.layout.meta_stream();
        for message in self.rows(&format!("{BOARD}{author}.")).await? {
            self.0.broker.delete(&stream, message.sequence).await.map_err(from_broker)?;
        }
        Ok(())
    }
}
