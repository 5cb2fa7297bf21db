//! Numbers of files, by which the objects of all files are in one order.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::file::File;

/// Distance between the numbers of files, so that a later file fits between two others.
const ORDER_STEP: u64 = 1 << 22;
/// Number of the first file, so that there is room before and after it.
const ORDER_START: u64 = 1 << 42;

/// Numbers new files, whose number is 0, between the existing ones, whose objects keep their numbers. `files` are in order
/// of name.
pub(super) fn number_files(files: &mut BTreeMap<Arc<Path>, File>) {
    let mut after = None;
    let mut waiting: Vec<&mut File> = Vec::new();
    let mut room = true;
    for file in files.values_mut() {
        if file.order == 0 {
            waiting.push(file);
            continue;
        }
        let extent = ORDER_STEP.saturating_mul(waiting.len() as u64 + 1);
        room &= spread(&mut waiting, after.unwrap_or_else(|| file.order.saturating_sub(extent)), file.order);
        after = Some(file.order);
    }
    let after = after.unwrap_or(ORDER_START);
    let extent = ORDER_STEP.saturating_mul(waiting.len() as u64 + 1);
    room &= spread(&mut waiting, after, after.saturating_add(extent));
    if !room {
        // Every object gets another number, and is compiled again.
        for (file, number) in files.values_mut().zip(1..) {
            file.order = ORDER_START + number * ORDER_STEP;
        }
    }
}

/// Numbers files evenly between two others. Returns whether there was room.
fn spread(files: &mut Vec<&mut File>, after: u64, before: u64) -> bool {
    let step = (before - after) / (files.len() as u64 + 1);
    for (file, number) in files.drain(..).zip(1..) {
        file.order = after + step * number;
    }
    step > 0
}
