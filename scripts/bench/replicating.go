package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
)

// replicated are the storages that are a replicating.
var replicated = []string{testhost.PartBtrfs, testhost.PartZFS}

// replicating is a storage whose snapshots can be sent, with what else sends them.
type replicating interface {
	storage
	// place makes a place for volsnap's replicas in a pool, and says it as --into takes it.
	place(ctx context.Context, p *testhost.Pool) (string, error)
	// mirror is the other tool, ready to bring the store's datasets to a pool of which the server's key does anyCommand.
	mirror(ctx context.Context, s *store, to *testhost.Pool, server *testhost.SSHD) (mirror, error)
	// pipe sends a snapshot of the store's, by hand and in the format that volsnap sends in: a line of bash. It receives the k-th
	// one in the pool, on top of base unless that is nil. by is ssh with its arguments; empty: the pool is of this host.
	pipe(k int, one driver.Snapshot, base *driver.Snapshot, to *testhost.Pool, by string) (string, error)
	pipeName(ssh bool) string
}

// mirror is a tool that brings snapshots to a target.
type mirror struct {
	program
	snapshot func(context.Context) error        // takes what is to be sent; nil: it sends what is there
	arrived  func(context.Context) (int, error) // how many snapshots are at the target
}

// anyCommand lets a key do whatever the client asks for, with no process more than without a forced command.
const anyCommand = `exec "$SHELL" -c "$SSH_ORIGINAL_COMMAND"`

// serving is a forced command as docs/replication.md has it.
func (b *bench) serving(dir, into string) string {
	return fmt.Sprintf("%s --state-dir %s serve --client node1 --into %s", b.bin, filepath.Join(dir, "state"), into)
}

// newServer starts an sshd in a new directory. It counts commands, and its shell has no start-up file: that of this machine's root
// would count for each of them.
func newServer(dir, command string) (*testhost.SSHD, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return testhost.NewSSHD(dir, command, "LogLevel VERBOSE", "SetEnv HOME="+dir)
}

// sshTo is ssh with what volsnap gives it.
func sshTo(server *testhost.SSHD) []string {
	return []string{
		filepath.Join(server.Dir, "bin", "ssh"), "-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "Compression=no",
		"-i", server.Identity, "-o", "IdentitiesOnly=yes", server.Destination(),
	}
}

// replicatesTo writes the store's configuration once more, with a target of that name, and returns the program that sends there.
func (b *bench) replicatesTo(s *store, name, target string) (program, error) {
	text, err := os.ReadFile(s.config)
	if err != nil {
		return program{}, err
	}
	config := s.config + "." + name
	text = fmt.Appendf(text, "    replicate: [{target: %s}]\ntargets:\n  %s: %s\n", name, name, target)
	argv := []string{b.bin, "--config", config, "--log-level", "error", "replicate", s.app, "--json"}
	return program{name: "`volsnap replicate`", argv: argv}, os.WriteFile(config, text, 0o600)
}

// sshTarget is a server in the configuration.
func sshTarget(server *testhost.SSHD) string {
	return fmt.Sprintf("{ssh: %q, identity: %q}", server.Destination(), server.Identity)
}

// retire ends a server that has nothing to do any more, and tells how much memory its largest process took.
func retire(server *testhost.SSHD) (int64, error) {
	err := server.Rest()
	server.Close()
	return server.Peak(), err
}

// closing is retire for closers. A second time does no harm.
func closing(server *testhost.SSHD) func() error {
	return func() error {
		_, err := retire(server)
		return err
	}
}

// snapshots are those of one of the store's sets.
func (s *store) snapshots(ctx context.Context, i int) (out []driver.Snapshot, err error) {
	req, err := s.request(i)
	if err != nil {
		return nil, err
	}
	all, err := s.ours(ctx)
	for _, one := range all {
		if one.Set == req.Set {
			out = append(out, one)
		}
	}
	if err == nil && len(out) != len(s.datasets) {
		err = fmt.Errorf("the set %s has %d snapshots", req.Set, len(out))
	}
	return out, err
}

// twoPools are one to send from and one to send to.
func (b *bench) twoPools(done *closers) (from, to *testhost.Pool, err error) {
	for _, p := range []**testhost.Pool{&from, &to} {
		pool, remove, err := testhost.NewPool(b.kind, diskSize)
		if err != nil {
			return nil, nil, err
		}
		done.add(remove)
		*p = pool
	}
	return from, to, nil
}

// replicates is the storage as a replicating.
func (b *bench) replicates() (replicating, error) {
	if r, ok := b.on.(replicating); ok {
		return r, testhost.HaveSSH()
	}
	return nil, errors.New("there is nothing here that sends its snapshots")
}
