//! A store to be damaged, and the look at what is left of it: whatever it serves must be right, whatever it does not serve
//! must be named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::engine::Durability;
use commedia_actors::store::{Append, AppendError, Head, Options, ReadError, Store, StreamId};

use super::*;

/// The file that new rows are in.
pub fn log(engine: &str, dir: &Path) -> PathBuf {
    let log = |path: &PathBuf| path.ends_with("sled/db") || path.extension().is_some_and(|e| e == "jnl");
    files(&dir.join(engine)).into_iter().rfind(log).unwrap()
}

/// A store with some streams, blobs and a snapshot, closed; what each stream's head was.
pub async fn sample(engine: &str, dir: &Path, runs: u64) -> BTreeMap<StreamId, Head> {
    let store = open_files(engine, dir).await;
    let mut heads = BTreeMap::new();
    for n in 0..runs {
        let stream = run(&format!("r{n}"));
        let blob = Blob::new(vec![n as u8; 9000]);
        let request = Append {
            frame: frame_with(&stream, &Head::START, 3, std::slice::from_ref(&blob)),
            blobs: vec![blob],
            ..append_of(&store, &stream, &Head::START, 3)
        };
        let head = store.append(request).await.unwrap();
        let snapshot = Snapshot { seq: 3, head_hash: head.hash, digest: head.hash, state_version: 1, bytes: vec![1; 3000] };
        store.put_snapshot(&stream, snapshot).await.unwrap();
        heads.insert(stream.clone(), fill(&store, &stream, &[1, 30, 2, n % 5 + 1]).await);
    }
    store.close().await.unwrap();
    if engine == "fjall" {
        // Opening gives back the room that a new journal reserves: less to copy.
        open_files(engine, dir).await.close().await.unwrap();
    }
    heads
}

/// Opens what may be damaged. `None`: all is as it was. Else what the store says is wrong, once it is sure that whatever
/// it serves is right.
pub async fn examine(engine: &str, dir: &Path, heads: &BTreeMap<StreamId, Head>) -> Option<String> {
    let store = match Store::open(&url(engine, dir), Durability::Fsync, Options::default()).await {
        Ok(store) => store,
        Err(e) => return Some(format!("refused: {e}")),
    };
    let report = store.check().await.unwrap();
    let mut said: Vec<String> = report.damage.iter().map(ToString::to_string).collect();
    let listed = store.every_stream(None, 1000).await.unwrap();
    for (stream, head) in heads {
        let in_list = listed.iter().find(|l| l.stream == *stream);
        assert!(in_list.is_none_or(|l| l.head.as_ref().is_ok_and(|h| h == head) || l.head.is_err()), "{in_list:?}");
        assert!(in_list.is_some() || report.damage.iter().any(|d| d.stream.as_ref() == Some(stream)), "{stream} is not listed");
        let whole = match store.head(stream).await {
            Ok(found) => {
                assert_eq!(found, *head, "{stream}: another head, and nothing said");
                let mut at = Head::START;
                loop {
                    match store.read_after(stream, &at, 1000).await {
                        Ok(frames) if frames.is_empty() => break at == *head,
                        Ok(frames) => {
                            frames.iter().for_each(|frame| check_payloads(stream, frame));
                            at = frames.last().unwrap().head();
                        }
                        Err(ReadError::Damaged(_)) => break false,
                        Err(e) => panic!("{e}"),
                    }
                }
            }
            Err(ReadError::Damaged(damage)) => {
                assert_eq!(damage.stream.as_ref(), Some(stream));
                let refused = append(&store, stream, head, 1).await;
                assert!(matches!(refused, Err(AppendError::Damaged(_))), "{refused:?}");
                false
            }
            Err(e) => panic!("{e}"),
        };
        let named = report.damage.iter().any(|damage| damage.stream.as_ref() == Some(stream));
        assert!(whole || named, "{stream} is damaged and not named: {said:?}");
        let checked = report.streams.iter().find(|s| s.stream == *stream);
        assert_eq!(checked.is_some_and(|s| s.whole && s.head == *head), whole, "{stream}");
    }
    if let Err(e) = store.close().await {
        said.push(format!("closing: {e}"));
    }
    (!said.is_empty()).then(|| said.join("; "))
}
