//! Making objects for the host.

use super::guard::guarded;
use super::out::Out;
use super::refusal::{Message, Refusal};
use super::status::*;
use super::tag::Tag;
use demuxbuf::alloc_util::{TryArc, try_box};

/// A tag for a pool, and for the pools of its threads.
pub(super) fn new_tag() -> Result<TryArc<Tag>, Refusal> {
    TryArc::try_new(Tag::take().ok_or(Refusal::NoTag)?).ok_or(Refusal::NoMemory)
}

/// Makes an object for the host, or writes to `message` why it is refused.
pub(super) fn new_object<T>(make: impl FnOnce() -> Result<T, Refusal>, place: Out<*mut T>, message: Message) -> i32 {
    let made = guarded(|| {
        let object = make().and_then(|object| try_box(object).ok_or(Refusal::NoMemory));
        object.map(Box::into_raw).map_err(|refusal| message.refuse(&refusal))
    });
    match made {
        Some(Ok(made)) => {
            place.write(made);
            DEMUXBUF_OK
        }
        Some(Err(status)) => status,
        None => DEMUXBUF_ERR_POISONED,
    }
}
