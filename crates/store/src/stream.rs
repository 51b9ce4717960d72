//! A run as it is followed live: events and, between them, the text of the model as it comes.
//!
//! Catching up and following are the same query: there is no hand-over in which a frame could be
//! lost. The cursor is a place in the order (event 1, deltas 1.1, 1.2, …, event 2, …).

use protocol::{
    event::{StoredEvent, step_id},
    id::RunId,
};
use sqlx::{Row, postgres::PgRow};

use crate::{
    error::StoreError,
    events::{Walk, event_from},
    notifier::{Subject, Subscription},
    rows::{get_u32, get_u64},
    scoped::Scoped,
};

/// Most frames of one read.
pub const FRAMES_MAX: i64 = 500;
/// Most bytes of one read, but always one frame.
pub const FRAMES_MAX_BYTES: i64 = 1024 * 1024;

/// A place in a run's stream: after event `seq`, and after `n` deltas that follow it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamCursor {
    /// The last event seen; 0 for none.
    pub seq: u64,
    /// The deltas seen after it.
    pub n: u64,
}

/// One thing to send to a follower.
#[derive(Debug, Clone)]
pub enum Frame {
    Event(Box<StoredEvent>),
    /// Text of the step's answer, to append.
    Delta {
        at: StreamCursor,
        step_id: String,
        text: String,
    },
    /// The step's text so far is void.
    Reset {
        at: StreamCursor,
        step_id: String,
    },
}

impl Frame {
    /// The cursor of a reader that has seen it.
    pub fn cursor(&self) -> StreamCursor {
        match self {
            Self::Event(event) => StreamCursor { seq: event.seq, n: 0 },
            Self::Delta { at, .. } | Self::Reset { at, .. } => *at,
        }
    }
}

/// Some frames in order, and whether more can come.
#[derive(Debug, Clone)]
pub struct Frames {
    /// What follows the cursor.
    pub frames: Vec<Frame>,
    /// The run's last event is among them or before the cursor: nothing will follow.
    pub ended: bool,
    /// There may be more already: read again at once.
    pub more: bool,
}

impl Scoped {
    /// A bell for new frames of a run. Subscribe before the first read.
    pub fn watch_run(&self, run_id: RunId) -> Subscription {
        self.notifier().subscribe(Subject::Run(run_id))
    }

    /// What follows `cursor`, at most [`FRAMES_MAX`] frames and about [`FRAMES_MAX_BYTES`], in one
    /// snapshot.
    pub async fn read_frames(
        &self,
        run_id: RunId,
        cursor: StreamCursor,
        with_deltas: bool,
    ) -> Result<Frames, StoreError> {
        let walk = Walk {
            seq: cursor.seq,
            n: cursor.n,
            with_deltas,
            types: &[],
            frames_max: FRAMES_MAX,
            bytes_max: FRAMES_MAX_BYTES,
        };
        let stretch = self.walk_run(run_id, walk).await?;
        let frames: Vec<_> =
            stretch.rows.iter().map(|row| frame_from(row, run_id)).collect::<Result<_, _>>()?;
        let seen = frames.last().map_or(cursor, Frame::cursor);
        Ok(Frames {
            // Of an old run the events may be gone: nothing will follow then, either.
            ended: stretch.status.is_terminal()
                && (seen.seq >= stretch.last_seq || frames.is_empty()),
            more: stretch.has_more,
            frames,
        })
    }
}

fn frame_from(row: &PgRow, run_id: RunId) -> Result<Frame, StoreError> {
    let n = get_u64(row, "n")?;
    if n == 0 {
        return event_from(row, run_id).map(Box::new).map(Frame::Event);
    }
    let at = StreamCursor { seq: get_u64(row, "seq")?, n };
    let step_id = step_id(get_u32(row, "step")?);
    Ok(match row.try_get::<Option<String>, _>("delta")? {
        Some(text) => Frame::Delta { at, step_id, text },
        None => Frame::Reset { at, step_id },
    })
}
