//! What the journal knows of an object, for its status.

use super::Journal;
use crate::catalog::{JournalReading, Kind, ObjectView};

/// Reads what `journal` knows of the object that `view` shows; from memory.
pub fn reading(journal: &dyn Journal, view: &ObjectView) -> JournalReading {
    let object = view.incarnation();
    match view.kind {
        Kind::Endpoint => {
            let exhausted = journal.storage(&object).exhausted;
            JournalReading { share_exhausted: exhausted.map(|share| share.to_string()), ..JournalReading::default() }
        }
        Kind::Subscription => {
            let deliveries = journal.progress(&object).map(Into::into);
            JournalReading { deliveries, ..JournalReading::default() }
        }
    }
}
