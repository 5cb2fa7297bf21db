//! A scan of the headers of a stream.

use super::{Broker, BrokerError, Message, ReadFrom};
use crate::limits::{NATS_SCAN_BYTES, NATS_SCAN_PULL};

impl Broker {
    /// Passes every message from sequence `from` on whose subject matches, without its body, until the end of the stream as its
    /// leader knows it. Returns the last sequence of the stream then: every message up to it has been passed.
    pub(crate) async fn heads(
        &self,
        stream: &str,
        from: u64,
        filter: &str,
        each: &mut (dyn FnMut(Message) + Send),
    ) -> Result<u64, BrokerError> {
        let mut next = from.max(1);
        loop {
            let batch = self.batch(stream, next, filter, NATS_SCAN_PULL, NATS_SCAN_BYTES).await?;
            for mut message in batch.messages {
                next = message.sequence + 1;
                message.payload = bytes::Bytes::new();
                each(message);
            }
            if batch.pending == 0 {
                let last = self.stream(stream).await?.map_or(0, |info| info.last_sequence);
                if self.next(stream, next, filter, ReadFrom::Leader).await?.is_none() {
                    return Ok(last.max(next - 1));
                }
            }
        }
    }
}
