//! Lists of tools as they were written last. They are long, seldom different, and asked for by every client that
//! connects; one is written anew when what it was made of is another.

use super::catalogue::{self, Tool};
use crate::{
    jobs::Offered,
    mcp::{
        Inner,
        call::{Call, Profile},
        errors::Fault,
        tasks::Form,
        wire::frame::Written,
    },
};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};

/// Lists kept: there is one for each set of scopes and models, in each era. Each has some 10 KB.
const MOST: usize = 32;

#[derive(Default)]
pub struct Lists(Mutex<Vec<Kept>>);

struct Kept {
    of: Of,
    result: Arc<RawValue>,
}

/// All that a list depends on and that differs between calls.
struct Of {
    offered: Offered,
    tools: Vec<Tool>,
    ceiling: Duration,
    modern: bool,
    apps: bool,
    profile: Profile,
    tasks: Option<Form>,
}

impl Of {
    fn is(&self, other: &Of) -> bool {
        let Of { offered, tools, ceiling, modern, apps, profile, tasks } = self;
        *modern == other.modern
            && *apps == other.apps
            && *profile == other.profile
            && *tasks == other.tasks
            && *ceiling == other.ceiling
            && *tools == other.tools
            && offered.is(&other.offered)
    }
}

impl Lists {
    fn find(&self, of: &Of) -> Option<Arc<RawValue>> {
        self.0.lock().iter().find(|kept| kept.of.is(of)).map(|kept| kept.result.clone())
    }

    fn keep(&self, of: Of, result: &RawValue) {
        let mut all = self.0.lock();
        all.retain(|kept| kept.of.offered.is_of_one_registry(&of.offered));
        if all.len() >= MOST {
            all.remove(0);
        }
        all.push(Kept { of, result: Arc::from(result.to_owned()) });
    }
}

/// The result of `tools/list`; `write` makes it of the list.
///
/// # Errors
/// Those of `write`.
pub fn result(
    inner: &Inner,
    call: &Call,
    write: impl FnOnce(catalogue::ToolList) -> Result<Box<RawValue>, Fault>,
) -> Result<Written, Fault> {
    let tools = catalogue::mine(inner, call);
    let list = |tools: &[Tool]| catalogue::list(inner, call, tools);
    let Some(offered) = inner.backend.offered(&call.owner()) else {
        return write(list(&tools)).map(Written::New);
    };
    let ceiling = inner.wait_ceiling(call, 1);
    let (modern, apps) = (call.peer.is_modern(), call.peer.apps);
    let of = Of { offered, tools, ceiling, modern, apps, profile: call.profile, tasks: Form::of(call) };
    if let Some(kept) = inner.lists.find(&of) {
        return Ok(Written::Kept(kept));
    }
    let result = write(list(&of.tools))?;
    inner.lists.keep(of, &result);
    Ok(Written::New(result))
}
