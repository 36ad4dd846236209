//! What is measured, beside what is aimed at.

use std::time::Duration;

use weir_bench::table::table;

use crate::ByMemory;
use crate::rounds::Rounds;
use crate::storm::Storm;
use weir_bench::used::Used;

/// What is aimed at, for a number of sidecars; nothing for others.
pub(crate) struct Goals {
    took: &'static str,
    connect: &'static str,
    memory: &'static str,
    all: &'static str,
    by_file: &'static str,
    by_memory: &'static str,
    endpoint_cpu: &'static str,
    rule: &'static str,
    host: &'static str,
    host_cost: &'static str,
    filter: &'static str,
}

const NONE: Goals = Goals {
    took: "",
    connect: "",
    memory: "",
    all: "",
    by_file: "",
    by_memory: "",
    endpoint_cpu: "",
    rule: "",
    host: "",
    host_cost: "",
    filter: "",
};

impl Goals {
    /// Those of the project's plan.
    pub fn of(sidecars: usize) -> Self {
        match sidecars {
            200 => Self {
                connect: "17",
                memory: "0.4",
                by_file: "p99 50",
                by_memory: "p99 20",
                endpoint_cpu: "20",
                rule: "400",
                host: "p99 100",
                host_cost: "150; 10000",
                filter: "150; 10000",
                ..NONE
            },
            1000 => Self { took: "30", all: "connected 600", by_file: "p99 100", by_memory: "p99 100", ..NONE },
            _ => NONE,
        }
    }
}

/// The figures with their names and goals, in the order in which they came.
pub(crate) struct Report {
    goals: Goals,
    sidecars: f64,
    rows: Vec<[String; 3]>,
}

impl Report {
    pub fn new(sidecars: usize) -> Self {
        Self { goals: Goals::of(sidecars), sidecars: sidecars as f64, rows: vec![] }
    }

    fn add(&mut self, name: &str, figure: String, goal: &str) {
        self.rows.push([name.to_owned(), figure, goal.to_owned()]);
    }

    /// What the sidecars cost that have come.
    pub fn connected(&mut self, took: Duration, [idle, connected, end]: [Used; 3]) {
        self.add("until all that connect at once have all they ask for, s", format!("{:.1}", took.as_secs_f64()), self.goals.took);
        let each = |figure: f64| format!("{:.2}", figure / self.sidecars);
        let (cpu, memory) = (connected.cpu.saturating_sub(idle.cpu), connected.memory.saturating_sub(idle.memory));
        let (cpu, memory) = (each(cpu.as_secs_f64() * 1e3), each(memory as f64 / 1e6));
        self.add("CPU for each sidecar that connects, ms", cpu, self.goals.connect);
        self.add("memory for each, MB", memory, self.goals.memory);
        let all = [idle, connected, end].map(|used| format!("{:.0}", used.memory as f64 / 1e6)).join(", ");
        self.add("memory of all, MB: idle, connected, at the end", all, self.goals.all);
    }

    /// Changes of an endpoint in a file, and in memory.
    pub fn endpoint(&mut self, by_file: &Rounds, by_memory: &Rounds) {
        self.add("one endpoint in force, by file, p50 / p99, ms", by_file.latency(), self.goals.by_file);
        self.add("CPU for it, ms; bytes to each", by_file.cost(), self.goals.endpoint_cpu);
        self.add("one endpoint in force, by a source in memory, p50 / p99, ms", by_memory.latency(), self.goals.by_memory);
        self.add("CPU for it, ms; bytes to each", by_memory.cost(), self.goals.endpoint_cpu);
    }

    /// Changes of a rule, as a whole table and as a virtual host, and the bytes of that table by a bare stream.
    pub fn rule(&mut self, rule: &Rounds, host: &Rounds, floor: &Rounds) {
        self.add("one VirtualService in force, p50 / p99, ms", rule.latency(), "");
        self.add("CPU for it, ms; bytes to each", rule.cost(), self.goals.rule);
        self.add("one VirtualService by virtual host, p50 / p99, ms", host.latency(), self.goals.host);
        self.add("CPU for it, ms; bytes to each", host.cost(), self.goals.host_cost);
        self.add("the floor: that table by a bare stream, p50 / p99, ms", floor.latency(), "");
        self.add("CPU for it, ms; bytes to each", floor.cost(), "");
        let [latency, cpu] = rule.over(floor);
        self.add("one VirtualService / the floor: p99, CPU", format!("{latency:.2}, {cpu:.2}"), "p99 1.50");
    }

    /// Changes of an EnvoyFilter that selects one service's clusters.
    pub fn filter(&mut self, filter: &Rounds) {
        self.add("one EnvoyFilter, of one service's clusters, in force, p50 / p99, ms", filter.latency(), "");
        self.add("CPU for it, ms; bytes to each", filter.cost(), self.goals.filter);
    }

    /// Many who come at once.
    pub fn storm(&mut self, count: usize, storm: &Storm) {
        let delays = storm.delays().map(|delay| format!("{delay:.0}")).join(" / ");
        let name = format!("while {count} more connect ({:.1} s), an endpoint in force, p50 / p99 / last, ms", storm.took.as_secs_f64());
        self.add(&name, delays, "last 200");
    }

    /// The same changes in a mesh of so many times the services.
    pub fn larger(&mut self, times: usize, small: &ByMemory, large: &ByMemory) {
        let rows = [("endpoint", &small.endpoint, &large.endpoint), ("VirtualService by virtual host", &small.host, &large.host)];
        for (what, small, large) in rows {
            let [_, cpu] = large.over(small);
            self.add(&format!("CPU of one {what}, {times} times the services / here"), format!("{cpu:.2}"), "1.50");
            self.add("CPU for it there, ms; bytes to each", large.cost(), "");
        }
    }

    /// As a table.
    pub fn print(self, title: &str) {
        println!("{}", table(&[title, "pilot", "goal"], self.rows.into_iter().map(Vec::from).collect()));
    }
}
