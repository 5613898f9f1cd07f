package driver

import (
	"context"
	"errors"
	"io"
)

// What replication branches on.
var (
	// ErrDiverged: the place has snapshots of the dataset, and what arrives builds on none of them.
	ErrDiverged = errors.New("target has changed since the common snapshot")
	// ErrBadStream: the stream is damaged, is of something else than was said, or ended early.
	ErrBadStream = errors.New("bad stream")
	// ErrStale: a broken transfer cannot go on where it stopped, and has to begin anew.
	ErrStale = errors.New("the broken transfer cannot be resumed")
)

// SendRequest says what a stream is to hold.
type SendRequest struct {
	Snapshot Snapshot  // as listed; sealed
	Base     *Snapshot // of the same kind, older; the stream holds what changed since. nil: all of it
	Formats  []string  // what the receiver can read, as its Formats says
	Resume   string    // Partial.Token of a transfer of the same snapshot and base that broke; "" for the beginning
}

// Sender writes snapshots as streams.
type Sender interface {
	Lister
	// Send returns nil only after the whole stream was written. It stops when w fails or ctx ends, and leaves no process
	// behind. The error of w is in that of Send. While it runs, the snapshot and the base are ErrBusy to Unseal and Destroy, and
	// nobody else waits for it. ErrNotFound, ErrForeign: the snapshot or the base is not what was named, and nothing was written.
	// ErrStale: Resume does not fit, and nothing was written.
	Send(ctx context.Context, req SendRequest, w io.Writer) error
}

// ReceiveRequest says what the source says of a stream. It may lie in every field.
type ReceiveRequest struct {
	Snapshot Snapshot // as the source lists it; Name, Order, Sealed, Pins, Fault and Received mean nothing here
	Base     string   // GUID of the base, which is here; "": the stream holds all of the snapshot
	Resume   string   // Partial.Token, if the stream goes on where a broken one stopped
}

// Partial is what there is of a transfer that broke.
type Partial struct {
	GUID  string `json:"guid"` // of the snapshot that was on its way
	Base  string `json:"base"` // GUID of its base, or ""
	Token string `json:"token"`
	Bytes int64  `json:"bytes"` // of the stream that need not be sent again
}

// Receiver is a place for replicas of one client on one kind of storage. It lists and changes nothing outside of its place
// and what it did not receive itself, and its snapshots are nobody's but its own: no Driver of the host lists them. To a
// Driver the replicas of a place are ErrForeign, and so is to a place whatever is not its own.
//
// A replica's Dataset and Name are where it lies here. All else that makes it a member of its set (GUID, Set, Member, Of,
// Volumes, Taken, Consistency once sealed) is as at the source. Order is greater for what was received later.
type Receiver interface {
	Pruner
	Kind() string
	// Formats are the names of the stream formats that Receive reads, besides the kind's oldest one. Names are the
	// driver's own.
	Formats() []string
	// Receive returns once the replica is durable, read-only, and was shown to have the GUID; it is unsealed. Nothing is ever
	// rolled back or destroyed for it. On error Snapshots is as before, and Partials may tell what need not be sent again.
	// ErrExists: the replica is here. ErrDiverged: replicas of the dataset are here, and the stream holds all of it; the error
	// names the newest of them and what arrives. ErrBusy: another stream of the dataset is arriving. ErrNotFound (the base is
	// not here), ErrBadStream, ErrNoSpace, ErrStale. An announcement that nobody could mean is an error without a name.
	// While it runs, the base is ErrBusy to Unseal and Destroy.
	// It returns when ctx ends, also while r blocks: one Read of r may then go on behind it, until r is closed.
	// What is received is never mounted, and nothing in it can be executed, or act with rights, by being here.
	Receive(ctx context.Context, req ReceiveRequest, r io.Reader) (Snapshot, error)
	// Partials are transfers that broke (r failed or ended early, ctx ended, or the process did) and can go on, at most one of a
	// dataset. Those that a Receive of the dataset without their token finds in its way it removes.
	Partials(ctx context.Context) ([]Partial, error)
	// Seal is as Taker.Seal: the members are here, read-only, with their GUIDs, and now of a finished set.
	Seal(ctx context.Context, consistency string, s ...Snapshot) error
	// Space is what the place has left.
	Space(ctx context.Context) (Space, error)
	// Mount is as Driver.Mount.
	Mount(ctx context.Context, s Snapshot, dir string) (unmount func(context.Context) error, err error)
}
