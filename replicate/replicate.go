// Package replicate brings the sets of one host to a target: another file system of this host, or a backup server.
//
// # Steps, then streams
//
// Steps is pure: from two listings it says which sets are sent, and on what base each stream builds. Run carries that out.
// To be up to date is no error.
//
// # Bases
//
// A base is found by GUID, in fresh listings of both sides. What may be needed as one is pinned at the source beforehand
// (driver.Base): the set that is about to be sent, before its first byte; the set before it is let go only after the target
// has said that the new one is committed. So whenever a run is killed, a set that the target has is still at the source.
//
// # Whole replicas
//
// A target shows a set after Commit, which it is asked for when every member has arrived with the GUID that it has at the
// source. Members that arrived before a run was killed are not sent again.
//
// # Never rewind
//
// Nothing at a target is rolled back, overwritten or destroyed to make room. Where it has gone its own way the error is
// driver.ErrDiverged, and names both sides.
package replicate

import (
	"context"
	"io"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/tree"
	"github.com/volsnap/volsnap/snapset"
)

// Listing is what is at a target.
type Listing struct {
	Snapshots []driver.Snapshot                  `json:"snapshots"` // committed (sealed) or not, of the app that was asked for
	Partials  []driver.Partial                   `json:"partials"`
	Formats   map[string][]string                `json:"formats"` // driver.Receiver.Formats by kind; a kind that is missing cannot be received
	Manifests map[driver.SetID]*snapset.Manifest `json:"manifests,omitempty"`
	Client    string                             `json:"client,omitempty"` // who the peer takes us for; of an Origin alone
}

// Target is a place that sets are sent to. Its methods may be called concurrently.
type Target interface {
	// List tells what is there of an app; of every app if it is empty. The manifests come along if they are asked for.
	List(ctx context.Context, app string, manifests bool) (Listing, error)
	// Receive is driver.Receiver's, of the place for snapshots of that kind. It closes r, if that can be closed, once it reads
	// no more.
	Receive(ctx context.Context, req driver.ReceiveRequest, r io.Reader) (driver.Snapshot, error)
	// Commit makes a set visible whose members were all received: the target finds them by the manifest's GUIDs, looks whether
	// each is what the manifest says, keeps the manifest, and seals them. Committing twice is harmless.
	Commit(ctx context.Context, m *snapset.Manifest) error
	// Digest says what a replica holds, as listed. ErrForbidden where that is not granted.
	Digest(ctx context.Context, s driver.Snapshot) (tree.Digest, error)
}

// Source is what the streams come from: a storage of this host, or of the one that they are fetched from.
type Source interface {
	// Send is driver.Sender's.
	Send(ctx context.Context, req driver.SendRequest, w io.Writer) error
	Kind() string
	Pin(ctx context.Context, s driver.Snapshot, reason string) error
	Unpin(ctx context.Context, s driver.Snapshot, reason string) error
}
