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
    /// Returns the rows that were written after the message `after`.
    async fn rows(&self, prefix: &str, after: u64) -> Result<Vec<Message>> {
        let replica = &self.0;
        replica.check_running()?;
        let (stream, filter) = (replica.layout.meta_stream(), replica.layout.row(&format!("{prefix}>")));
        let mut rows = match after {
            0 => replica.broker.rows(&stream, &filter).await,
            after => replica.broker.rows_after(&stream, &filter, after).await,
        }
        .map_err(from_broker)?;
        rows.sort_unstable_by_key(|row| row.sequence);
        Ok(rows)
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
        let rows = self.rows(MEMBER, 0).await?;
        let name =
            |message: &Message| Some(self.0.layout.key_of_row(&message.subject)?.strip_prefix(MEMBER)?.to_owned());
        let mut names: Vec<String> = rows.iter().filter_map(name).collect();
        if !names.iter().any(|name| name == self.replica()) {
            names.push(self.replica().to_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    async fn read(&self, after: u64) -> Result<Vec<BoardRow>> {
        Ok(self.rows(BOARD, after).await?.into_iter().filter_map(|message| self.row(message)).collect())
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

    async fn remove(&self, _author: &str, _key: &str, revision: u64) -> Result<()> {
        // The revision is the sequence of the message that has the row.
        self.0.check_running()?;
        let deleted = self.0.broker.delete(&self.0.layout.meta_stream(), revision).await;
        deleted.map(|_| ()).map_err(from_broker)
    }
}
