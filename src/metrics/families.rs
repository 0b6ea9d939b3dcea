//! The families of metrics, their registration, and the buckets of histograms. One type of labels for all families keeps the
//! executable small.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::Labels;

pub(super) type Counters = Family<Labels, Counter>;
pub(super) type Gauges = Family<Labels, Gauge>;
pub(super) type Histograms = Family<Labels, Histogram>;

/// Makes metric families and registers them.
#[derive(Default)]
pub(super) struct Registration(Registry);

impl Registration {
    pub(super) fn into_registry(self) -> Registry {
        self.0
    }

    pub(super) fn counters(&mut self, name: &str, help: &str) -> Counters {
        let family = Counters::default();
        self.0.register(name, help, family.clone());
        family
    }

    pub(super) fn gauges(&mut self, name: &str, help: &str) -> Gauges {
        let family = Gauges::default();
        self.0.register(name, help, family.clone());
        family
    }

    pub(super) fn histograms(&mut self, name: &str, help: &str, buckets: fn() -> Histogram) -> Histograms {
        let family = Histograms::new_with_constructor(buckets);
        self.0.register(name, help, family.clone());
        family
    }
}

/// The series of a family with these labels, which exist from now on. They are kept where they are needed at each admission:
/// to find a series by its labels takes longer than to count.
pub(super) fn series<M: Clone, C: MetricConstructor<M>>(
    family: &Family<Labels, M, C>,
    labels: impl Iterator<Item = Labels>,
) -> Vec<M> {
    labels.map(|labels| family.get_or_create_owned(&labels)).collect()
}

/// From a warm admission (less than a millisecond) to the longest timeout of Kubernetes (30 s).
pub(super) fn admission_buckets() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// Coarse, because there are many phases, and finer at the beginning, because most phases are short.
pub(super) fn phase_buckets() -> Histogram {
    Histogram::new([0.0001, 0.001, 0.01, 0.05, 0.25, 1.0, 2.5, 10.0])
}

/// From a minute to a month.
pub(super) fn age_buckets() -> Histogram {
    Histogram::new([60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0])
}
