package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
)

// route is one way to send a volume.
type route struct {
	name   string // empty: the sender's
	ssh    bool   // to the other side of an sshd
	serve  bool   // whose key does `volsnap serve`
	raw    *route // the pipe that goes the same way; a pipe's is itself
	sender func(context.Context, *end) (sender, error)
	sent   [2]transfer // the whole, and then what changed
}

// sender sends one volume to one end. It is asked for its program each time.
type sender struct {
	program func(ctx context.Context, k int) (program, error)
	check   func(ctx context.Context, k int) error // that all is there; may be nil
}

// transfer is what sending took. What volsnap has received is on disk when it ends; the pipes of Btrfs leave that to the kernel.
type transfer struct {
	took, ended sample // until all was on disk, and until the command ended
	memory, far int64  // of the largest process of each side; far of both transfers
}

// end is where a route ends in one round: a fresh pool, and a server if it goes by ssh.
type end struct {
	b      *bench
	on     replicating
	s      *store
	pool   *testhost.Pool
	server *testhost.SSHD
	dir    string
	into   string
}

func (b *bench) routes(on replicating) []*route {
	here := &route{name: on.pipeName(false), sender: pipeSender}
	there := &route{name: on.pipeName(true), ssh: true, sender: pipeSender}
	here.raw, there.raw = here, there
	return []*route{
		{name: "volsnap, to another pool of this host", raw: here, sender: volsnapSender},
		here,
		{name: "volsnap, by ssh", ssh: true, serve: true, raw: there, sender: volsnapSender},
		there,
		{ssh: true, raw: there, sender: mirrorSender},
	}
}

func (r *route) open(ctx context.Context, e *end, done *closers) (sender, error) {
	pool, remove, err := testhost.NewPool(e.b.kind, diskSize)
	if err != nil {
		return sender{}, err
	}
	done.add(remove)
	e.pool = pool
	if e.into, err = e.on.place(ctx, pool); err != nil {
		return sender{}, err
	}
	if r.ssh {
		forced := anyCommand
		if r.serve {
			forced = e.b.serving(e.dir, e.into)
		}
		if e.server, err = newServer(e.dir, forced); err != nil {
			return sender{}, err
		}
		done.add(closing(e.server))
	}
	return r.sender(ctx, e)
}

// send sends once, with nothing dirty anywhere to begin with.
func (r *route) send(ctx context.Context, e *end, by sender, k int) error {
	p, err := by.program(ctx, k)
	if err != nil {
		return err
	}
	if r.name == "" {
		r.name = p.name
	}
	for _, step := range []func() error{
		func() error { return runOnly(ctx, "sync") },
		func() error { return e.on.flush(ctx, e.s.pool, e.s.paths) },
		func() error { return e.on.flush(ctx, e.pool, nil) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	used, err := measure(ctx, p.argv, p.env...)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := e.on.flush(ctx, e.pool, nil); err != nil {
		return err
	}
	took := used.wall + time.Since(begin)
	e.b.out.progress("stream: %s: %s, on disk after %s", r.name, used.wall, took)
	t := &r.sent[k]
	t.took, t.ended, t.memory = append(t.took, took), append(t.ended, used.wall), max(t.memory, used.memory)
	if by.check == nil {
		return nil
	}
	return by.check(ctx, k)
}

func volsnapSender(_ context.Context, e *end) (sender, error) {
	name, target := "here", fmt.Sprintf("{into: %q}", e.into)
	var env []string
	if e.server != nil {
		name, target, env = "there", sshTarget(e.server), []string{e.server.Env()}
	}
	p, err := e.b.replicatesTo(e.s, name, target)
	p.env = env
	return sender{
		program: func(context.Context, int) (program, error) { return p, nil },
		check: func(ctx context.Context, _ int) error {
			_, err := upToDate(ctx, p)
			return err
		},
	}, err
}

// pipeSender sends by hand what volsnap sends.
func pipeSender(_ context.Context, e *end) (sender, error) {
	by := ""
	if e.server != nil {
		by = strings.Join(sshTo(e.server), " ")
	}
	return sender{program: func(ctx context.Context, k int) (program, error) {
		var base *driver.Snapshot
		if k > 0 {
			earlier, err := e.s.snapshots(ctx, k-1)
			if err != nil {
				return program{}, err
			}
			base = &earlier[0]
		}
		all, err := e.s.snapshots(ctx, k)
		if err != nil {
			return program{}, err
		}
		line, err := e.on.pipe(k, all[0], base, e.pool, by)
		return program{argv: []string{"bash", "-c", "set -o pipefail; " + line}}, err
	}}, nil
}

func mirrorSender(ctx context.Context, e *end) (sender, error) {
	other, err := e.on.mirror(ctx, e.s, e.pool, e.server)
	return sender{
		program: func(ctx context.Context, _ int) (program, error) {
			if other.snapshot == nil {
				return other.program, nil
			}
			return other.program, other.snapshot(ctx)
		},
		check: func(ctx context.Context, k int) error {
			there, err := other.arrived(ctx)
			if err == nil && there != k+1 {
				err = fmt.Errorf("%s has sent %d snapshots of %d", other.name, there, k+1)
			}
			return err
		},
	}, err
}
