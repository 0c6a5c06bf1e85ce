//! Answers that nobody would think of.

use crate::answer;
use plugin_api::Answer;
use proptest::prelude::*;

/// Whatever may come back: any bytes, text of a `shape` (a regular expression of the vendor's JSON, its members of any
/// type), a broken picture; with any status, whole or cut short. Reading it never panics, and is a success only where
/// [`could_succeed`] says so.
pub fn any_answer(shape: &'static str) -> impl Strategy<Value = Answer> {
    let bytes = |most: usize| proptest::collection::vec(any::<u8>(), 0..most);
    let body = prop_oneof![
        bytes(300),
        shape.prop_map(String::into_bytes),
        bytes(60).prop_map(|tail| [b"\x89PNG\r\n\x1a\n".as_slice(), &tail].concat()),
    ];
    (200_u16..600, body, any::<bool>())
        .prop_map(|(status, body, cut_short)| Answer { cut_short, ..answer(status, &[], body) })
}

/// The answer has a success status and is whole.
pub fn could_succeed(answer: &Answer) -> bool {
    answer.status.is_success() && !answer.cut_short
}
