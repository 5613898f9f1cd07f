// Package config reads volsnap's configuration file and yields plain values: every default filled in, every name checked.
//
// # What it promises
//
//   - Strict: an unknown key, a key given twice, a value of another type than is wanted, a second document, an anchor,
//     alias, tag or merge key is an error, and so is a key that this version could only ignore.
//   - All at once: every problem is reported, each with its line, its place in the file and what is wanted there. Only
//     text that is no YAML at all ends at its first problem.
//   - Nothing is touched: reading a file changes nothing and asks nobody. Whether a container or volume exists is for
//     others to find out.
//   - What is accepted is safe to pass on: names hold no separators, spaces or control characters and do not begin with
//     "-", paths are absolute and clean, and durations and counts are within bounds. A file that is hostile ends in an
//     error too, within bounded time and memory.
//
// docs/configuration.md describes every key; testdata/good holds the examples that it shows.
package config

import (
	"time"

	"github.com/volsnap/volsnap/retention"
)

// Config is a whole configuration file.
type Config struct {
	Version  int
	StateDir string // absolute
	RunDir   string // absolute
	Metrics  string // absolute path of the Prometheus text file to write; empty: none
	Apps     []App  // at least one, in the order of the file
	Targets  []Target
}

// App is containers and volumes that only make sense together.
type App struct {
	Name    string // driver.ValidApp accepts it
	Project string // Compose project; empty: none
	Volumes []Volume
	Freeze  Freeze
	Keep    retention.Policy
	// Replicate are the targets that the app's sets are sent to.
	Replicate []Replication
	// Source is where the app's sets are taken, if not on this host: then it has neither project, volumes nor freeze.
	Source *Source
	Drill  Drill
}

// Drill says what a drill of the app does beyond what it does with every app.
type Drill struct {
	Query    string // SQL that returns one column of paths below Volume; empty: none, and then there is no Volume
	Database string // where it is asked; empty: where the postgres step says
	User     string // who asks it; empty likewise
	Volume   string // a Docker volume's name, or a host path
	Content  string // "sample", "full" or "none"
	Timeout  time.Duration
}

// Source is a host that sets are fetched from.
type Source struct {
	SSH      string // as ssh(1) takes a destination
	Identity string // absolute path of a private key; empty: what ssh uses by itself
}

// Volume is a Docker volume by its name or a host path; exactly one of the two is set. An app whose Volumes are empty has a
// Project, and means all of the project's volumes.
type Volume struct {
	Volume       string
	Path         string   // absolute and clean, never "/"
	NotOlderThan []string // Names of other volumes of this app
}

// Name is what other volumes and the manifest call it: the Docker volume's name, or the path.
func (v Volume) Name() string {
	if v.Volume != "" {
		return v.Volume
	}
	return v.Path
}

// Freeze says how the app's containers are brought to a consistent state, and for how long at most.
type Freeze struct {
	Limit time.Duration
	Steps []Step // in order; thawed in reverse. Empty: crash-consistent sets
	// StepsGiven tells whether the file lists steps. Where it does not, Steps is one pause of all writers.
	StepsGiven bool
}

// Step is a Postgres, an Exec or a Pause.
type Step interface{ step() }

// Postgres runs CHECKPOINT in the container as that user, by way of that database.
type Postgres struct {
	Container, User, Database string
	Timeout                   time.Duration
}

// Exec runs a command in the container before the snapshots, and another one after them. Freeze has at least one element;
// Thaw may be empty.
type Exec struct {
	Container    string
	Freeze, Thaw []string // arguments, the program first; no shell reads them
	Timeout      time.Duration
}

// Pause pauses containers. No names: all running containers that can write to the app's volumes.
type Pause struct{ Containers []string }

func (Postgres) step() {}
func (Exec) step()     {}
func (Pause) step()    {}

// What a key that is left out means. docs/configuration.md says the same.
const (
	DefaultStateDir        = "/var/lib/volsnap"
	DefaultRunDir          = "/run/volsnap"
	DefaultLimit           = 10 * time.Second
	DefaultPostgresUser    = "postgres"
	DefaultPostgresTimeout = 5 * time.Minute
	DefaultExecTimeout     = 30 * time.Second
	DefaultContent         = "sample"
	DefaultDrillTimeout    = 10 * time.Minute
)
