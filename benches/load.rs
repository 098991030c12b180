//! So many workers at once, for so long: how many things were done a second, and how long each took. What they do is the caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;

/// What came of it.
#[derive(Clone, Default)]
pub struct Done {
    /// How many.
    pub count: usize,
    /// In how long.
    pub took: Duration,
    /// How long each took.
    pub each: Vec<Duration>,
}

impl Done {
    /// How many a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }

    /// Another run of the same.
    pub fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        self.took += other.took;
        self.each.extend(other.each);
        self
    }
}

/// Each worker does one thing after the other until the time is over. What is then under way ends, and counts, and so does its time.
pub async fn run<F>(workers: Vec<F>, lasts: Duration) -> Done
where
    F: AsyncWorker,
{
    let over = Arc::new(AtomicBool::new(false));
    let begun = Instant::now();
    let tasks: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            let over = over.clone();
            tokio::spawn(async move {
                let mut each = Vec::with_capacity(1024);
                while !over.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    worker.work().await;
                    each.push(begun.elapsed());
                }
                each
            })
        })
        .collect();
    tokio::time::sleep(lasts).await;
    over.store(true, Ordering::Relaxed);
    let each: Vec<Duration> = join_all(tasks).await.into_iter().flat_map(|task| task.expect("a worker")).collect();
    Done {
        count: each.len(),
        took: begun.elapsed(),
        each,
    }
}

/// One who does one thing after the other.
pub trait AsyncWorker: Send + 'static {
    /// One thing.
    fn work(&mut self) -> impl Future<Output = ()> + Send;
}
