// Package inventory finds out what an app consists of on this host: where its volumes lie, which running containers can
// write to them, and which container a configured name means.
//
// It reads and never changes anything. Each answer is that of one moment: names are looked up anew every time, so that a
// container that was replaced, with a new id under the old name, is found again.
//
// # Who writes
//
// Writers errs on one side only: a container that might write to a path is a writer. A writer that is missed would run on
// while its data is snapshotted as "frozen".
package inventory

import (
	"context"
	"errors"

	"github.com/volsnap/volsnap/internal/docker"
)

// Docker is what this package asks of an engine. See package docker for the contracts.
type Docker interface {
	Containers(ctx context.Context, all bool) ([]docker.Container, error)
	Volumes(ctx context.Context) ([]docker.Volume, error)
}

// What callers branch on.
var (
	ErrNotFound  = errors.New("not found")
	ErrAmbiguous = errors.New("ambiguous")
	ErrNoPath    = errors.New("has no directory of its own on this host")
)

// The labels that Docker Compose sets.
const (
	labelProject = "com.docker.compose.project"
	labelService = "com.docker.compose.service"
	labelNumber  = "com.docker.compose.container-number"
	labelOneOff  = "com.docker.compose.oneoff" // "True": made by "docker compose run"
	labelVolume  = "com.docker.compose.volume"
	labelDepends = "com.docker.compose.depends_on" // "postgres:service_started:false,redis:..."; not by Compose v1
)

// App is what a configuration says of an app.
type App struct {
	Project string       // Compose project; may be empty
	Volumes []VolumeSpec // empty: all volumes of the project
}

// VolumeSpec names a Docker volume or a host path, one of the two.
type VolumeSpec struct {
	Volume       string   // a volume's name, or in a project its key in the Compose file
	Path         string   // absolute
	NotOlderThan []string // Volume or Path of others
}

// Inventory is what an app consists of on this host.
type Inventory struct {
	Project string
	Volumes []Volume // in the order of the configuration; of a whole project, by name
}

// Volume is a Docker volume or a configured path, and where it lies.
type Volume struct {
	Name         string // the Docker volume's name, or the path as it was configured
	HostPath     string // absolute, without symbolic links, existing
	Found        string // how HostPath was found: FoundMountpoint, FoundBind or FoundPath
	Docker       bool   // it is a Docker volume
	Labels       map[string]string
	NotOlderThan []string // names of others in this inventory
}

// How a volume's host path was found.
const (
	FoundMountpoint = "mountpoint"  // the engine's own directory for it
	FoundBind       = "bind option" // the volume's options bind it elsewhere
	FoundPath       = "path"        // configured
)

// Paths are the host paths of all volumes.
func (i Inventory) Paths() []string {
	paths := make([]string, 0, len(i.Volumes))
	for _, v := range i.Volumes {
		paths = append(paths, v.HostPath)
	}
	return paths
}
