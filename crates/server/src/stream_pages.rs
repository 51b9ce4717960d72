//! Pages of runs as followers are sent them. Followers at the same place of the same run share one
//! read, one text and its bytes. Who reads what, and when, is not decided here.

use std::{
    collections::HashMap,
    fmt::Write,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use protocol::{
    error::ErrorCode,
    event::{LlmDelta, LlmReset},
    id::RunId,
    scope::Scope,
};
use serde::Serialize;
use store::{
    error::StoreError,
    scoped::Scoped,
    stream::{FRAMES_MAX_BYTES, Frame, StreamCursor},
};
use tokio::time::Instant;

use crate::{
    error::ApiError,
    limits::ByteBounds,
    waiting_bytes::{ByteRoom, BytesOwner, NoRoom, WaitingBytes},
};

/// The reads of this process that a follower waits for or still sends.
#[derive(Clone)]
pub(crate) struct StreamPages {
    readings: Arc<Mutex<Readings>>,
    bytes: WaitingBytes,
}

#[derive(Default)]
struct Readings {
    by_place: HashMap<Place, WeakShared<PageFuture>>,
    /// Those that nobody holds any more are removed when there are so many.
    sweep_at: usize,
}

/// A place in a run, as its tenant sees it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Place {
    scope: Scope,
    run_id: RunId,
    cursor: StreamCursor,
    form: FrameForm,
}

/// What frames look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FrameForm {
    /// Text of the model is among them.
    pub(crate) with_deltas: bool,
    /// Ids begin with that of the run: the stream is of several.
    pub(crate) ids_name_run: bool,
}

type PageFuture = BoxFuture<'static, Result<Arc<StreamPage>, PageError>>;

/// What follows a place in a run, as text.
pub(crate) struct StreamPage {
    /// Their room is given back when the last connection has written them.
    pub(crate) bytes: Bytes,
    /// The cursor of a follower that has seen it.
    pub(crate) next: StreamCursor,
    /// The run has ended and no page will follow.
    pub(crate) ended: bool,
    /// There is more already.
    pub(crate) more: bool,
    began_at: Instant,
}

impl StreamPage {
    /// It will never be longer.
    fn is_whole(&self) -> bool {
        self.more || self.ended
    }
}

/// A page, shared while it is held.
pub(crate) struct SharedPage {
    page: Arc<StreamPage>,
    /// Other followers find it as long as one of them holds it.
    _reading: Shared<PageFuture>,
}

impl Deref for SharedPage {
    type Target = StreamPage;

    fn deref(&self) -> &StreamPage {
        &self.page
    }
}

/// Why a page cannot be read.
#[derive(Debug, Clone)]
pub(crate) enum PageError {
    /// Followers do not take what waits for them.
    NoRoom,
    Store(Arc<StoreError>),
    /// A stored event cannot be written.
    Unwritable(Arc<serde_json::Error>),
}

impl From<NoRoom> for PageError {
    fn from(NoRoom: NoRoom) -> Self {
        Self::NoRoom
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::NoRoom => {
                let words = "too much waits for followers of the organisation that do not read";
                Self::new(ErrorCode::QuotaExceeded, words)
                    .hint("read the streams that are open, or close them")
            }
            PageError::Store(error) => error.into(),
            PageError::Unwritable(error) => Self::defect(error),
        }
    }
}

impl StreamPages {
    pub(crate) fn new(bounds: ByteBounds) -> Self {
        let gauge = metrics::gauge!("openintern_stream_bytes_waiting");
        Self { readings: Arc::default(), bytes: WaitingBytes::new(bounds, gauge) }
    }

    /// What follows the cursor, as of now or later.
    pub(crate) async fn read(
        &self,
        scoped: &Scoped,
        run_id: RunId,
        cursor: StreamCursor,
        form: FrameForm,
        owner: &BytesOwner,
    ) -> Result<SharedPage, PageError> {
        let asked_at = Instant::now();
        let place = Place { scope: scoped.scope().clone(), run_id, cursor, form };
        loop {
            let reading = self.join(&place, asked_at, || {
                let (scoped, bytes, owner) = (scoped.clone(), self.bytes.clone(), owner.clone());
                async move {
                    let room = bytes.reserve(&owner, FRAMES_MAX_BYTES as usize).await?;
                    read_page(&scoped, run_id, cursor, form, room).await.map(Arc::new)
                }
                .boxed()
            });
            let page = reading.clone().await?;
            // A read that had begun before may have missed what this follower was woken for.
            if page.is_whole() || page.began_at >= asked_at {
                return Ok(SharedPage { page, _reading: reading });
            }
        }
    }

    /// A text that counts as waiting until its follower has taken it.
    pub(crate) async fn hold(&self, text: String, owner: &BytesOwner) -> Result<Bytes, PageError> {
        let room = self.bytes.reserve(owner, text.len()).await?;
        Ok(Bytes::from_owner(RoomyText { text, _room: room }))
    }

    /// A reading at the place that is under way or still good; else a new one.
    fn join(
        &self,
        place: &Place,
        asked_at: Instant,
        begin: impl FnOnce() -> PageFuture,
    ) -> Shared<PageFuture> {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let found = readings.by_place.get(place).and_then(WeakShared::upgrade);
        let found = found.filter(|reading| match reading.peek() {
            None => true,
            Some(Ok(page)) => page.is_whole() || page.began_at >= asked_at,
            Some(Err(_)) => false,
        });
        found.unwrap_or_else(|| {
            let reading = begin().shared();
            readings.insert(place.clone(), &reading);
            reading
        })
    }
}

impl Readings {
    fn insert(&mut self, place: Place, reading: &Shared<PageFuture>) {
        if self.by_place.len() >= self.sweep_at {
            self.by_place.retain(|_, reading| reading.upgrade().is_some());
            self.sweep_at = 2 * self.by_place.len() + 64;
        }
        if let Some(reading) = reading.downgrade() {
            self.by_place.insert(place, reading);
        }
    }
}

async fn read_page(
    scoped: &Scoped,
    run_id: RunId,
    cursor: StreamCursor,
    form: FrameForm,
    mut room: ByteRoom,
) -> Result<StreamPage, PageError> {
    let began_at = Instant::now();
    let frames = scoped
        .read_frames(run_id, cursor, form.with_deltas)
        .await
        .map_err(|error| PageError::Store(Arc::new(error)))?;
    let mut text = String::new();
    for frame in &frames.frames {
        write_frame(&mut text, run_id, frame, form)
            .map_err(|error| PageError::Unwritable(Arc::new(error)))?;
    }
    text.shrink_to_fit();
    room.resize(text.len());
    Ok(StreamPage {
        bytes: Bytes::from_owner(RoomyText { text, _room: room }),
        next: frames.frames.last().map_or(cursor, Frame::cursor),
        ended: frames.ended,
        more: frames.more,
        began_at,
    })
}

/// A text that counts as waiting until nobody has it.
struct RoomyText {
    text: String,
    _room: ByteRoom,
}

impl AsRef<[u8]> for RoomyText {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

fn write_frame(
    out: &mut String,
    run_id: RunId,
    frame: &Frame,
    form: FrameForm,
) -> Result<(), serde_json::Error> {
    let StreamCursor { seq, n } = frame.cursor();
    let mut id = if form.ids_name_run { format!("{run_id}:{seq}") } else { seq.to_string() };
    if n > 0 {
        id.push_str(&format!(".{n}"));
    }
    match frame {
        Frame::Event(event) => write_lines(out, &id, &event.type_name, event),
        Frame::Delta { at, step_id, text } => write_lines(
            out,
            &id,
            "llm.delta",
            &LlmDelta { run_id, step_id: step_id.clone(), n: at.n, text: text.clone() },
        ),
        Frame::Reset { at, step_id } => write_lines(
            out,
            &id,
            "llm.reset",
            &LlmReset { run_id, step_id: step_id.clone(), n: at.n },
        ),
    }
}

/// A frame of server-sent events.
pub(crate) fn write_lines(
    out: &mut String,
    id: &str,
    event: &str,
    data: &impl Serialize,
) -> Result<(), serde_json::Error> {
    let data = serde_json::to_string(data)?; // JSON has no line breaks of its own.
    write!(out, "id: {id}\nevent: {event}\ndata: {data}\n\n").expect("a string takes all text");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_one_frame_whatever_it_says() {
        let run_id = "run_01h455vb4pex5vsknk084sn02q".parse().unwrap();
        let frame = Frame::Delta {
            at: StreamCursor { seq: 3, n: 2 },
            step_id: "step_0001".into(),
            text: "a\r\nb\u{2028}".into(),
        };
        let mut out = String::new();
        let form = FrameForm { with_deltas: true, ids_name_run: false };
        write_frame(&mut out, run_id, &frame, form).unwrap();
        assert_eq!(
            out,
            "id: 3.2\nevent: llm.delta\ndata: {\"run_id\":\"run_01h455vb4pex5vsknk084sn02q\",\
             \"step_id\":\"step_0001\",\"n\":2,\"text\":\"a\\r\\nb\u{2028}\"}\n\n"
        );
        let mut out = String::new();
        write_frame(&mut out, run_id, &frame, FrameForm { ids_name_run: true, ..form }).unwrap();
        assert!(out.starts_with("id: run_01h455vb4pex5vsknk084sn02q:3.2\n"), "{out}");
    }
}
