package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/volsnap/volsnap/config"
	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/driver/btrfs"
	"github.com/volsnap/volsnap/driver/lvm"
	"github.com/volsnap/volsnap/driver/zfs"
	"github.com/volsnap/volsnap/engine"
	"github.com/volsnap/volsnap/replicate"
	"github.com/volsnap/volsnap/snapset"
	"github.com/volsnap/volsnap/transport"
	"github.com/volsnap/volsnap/transport/ssh"
)

// links are the ways to the targets of one invocation. Each is opened when it is first needed, and serves all apps.
type links struct {
	state string // the state directory
	run   string // the run directory
	mu    sync.Mutex
	open  map[string]engine.Link
	from  map[config.Source]*transport.Client
	close []func() error
}

// target is the engine's of a configured one.
func (l *links) target(t config.Target) engine.Target {
	return engine.Target{
		Name: t.Name, Bandwidth: t.Bandwidth,
		Open: func(ctx context.Context) (engine.Link, error) { return l.to(ctx, t) },
	}
}

func (l *links) to(ctx context.Context, t config.Target) (engine.Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if link, ok := l.open[t.Name]; ok {
		return link, nil
	}
	link, closeLink, err := l.dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	if l.open == nil {
		l.open = map[string]engine.Link{}
	}
	l.open[t.Name] = link
	l.close = append(l.close, closeLink)
	return link, nil
}

func (l *links) dial(ctx context.Context, t config.Target) (engine.Link, func() error, error) {
	if t.SSH == "" {
		place, err := placeOf(t.Into, t.Resume, l.manifests(t))
		if err == nil {
			place.Mounts = filepath.Join(l.run, "mounts")
		}
		return local{place}, func() error { return nil }, err
	}
	client, err := connect(ctx, ssh.Host{Destination: t.SSH, Identity: t.Identity})
	if err != nil {
		return nil, nil, err
	}
	return client, client.Close, nil
}

// connect opens a connection that outlives the request that opened it; it ends by Close.
func connect(ctx context.Context, to ssh.Host) (*transport.Client, error) {
	conn, err := to.Dial(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	return transport.Open(conn)
}

// origin is the engine's of a configured source.
func (l *links) origin(s config.Source) engine.Origin {
	return func(ctx context.Context) (engine.Fetched, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if c, ok := l.from[s]; ok {
			return c.Origin(), nil
		}
		c, err := connect(ctx, ssh.Host{Destination: s.SSH, Identity: s.Identity})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.SSH, err)
		}
		if l.from == nil {
			l.from = map[config.Source]*transport.Client{}
		}
		l.from[s] = c
		l.close = append(l.close, c.Close)
		return c.Origin(), nil
	}
}

// keep lets Close call fn too.
func (l *links) keep(fn func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close = append(l.close, fn)
}

// manifests is where those of a target on this host are kept.
func (l *links) manifests(t config.Target) string { return filepath.Join(l.state, "targets", t.Name) }

// Close ends all connections.
func (l *links) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for _, fn := range l.close {
		errs = append(errs, fn())
	}
	l.open, l.from, l.close = nil, nil, nil
	return errors.Join(errs...)
}

// local is a target on this host.
type local struct{ *replicate.Place }

// Connections is none.
func (local) Connections() int { return 0 }

// Requests are none: nothing goes over a wire.
func (local) Requests() int { return 0 }

// placeOf opens the places that were named, with the directory for their manifests.
func placeOf(into []config.Into, resume bool, manifests string) (*replicate.Place, error) {
	p := &replicate.Place{Store: snapset.Store{Dir: manifests}}
	for _, i := range into {
		r, err := receiverOf(i, resume, ownerOf(manifests))
		if err != nil {
			return nil, err
		}
		p.Receivers = append(p.Receivers, r)
	}
	return p, nil
}

// ownerOf is the name under which a place is kept apart from others where one pool has several: "replicas/CLIENT" or "targets/NAME",
// the last two elements of the directory of its manifests. It stays the same when the state directory is moved.
func ownerOf(manifests string) string {
	return filepath.Join(filepath.Base(filepath.Dir(manifests)), filepath.Base(manifests))
}

func receiverOf(i config.Into, resume bool, owner string) (driver.Receiver, error) {
	switch i.Kind {
	case btrfs.Kind:
		return btrfs.Into(i.Where, btrfs.Options{Resume: resume})
	case zfs.Kind:
		return zfs.Into(i.Where) // what came of a broken transfer is always kept
	case lvm.Kind:
		return lvm.Into(i.Where, lvm.Options{Owner: owner, Resume: resume})
	default:
		return nil, fmt.Errorf("%s: this version cannot receive there: %w", i, driver.ErrNotSupported)
	}
}

// targetNamed is a configured target.
func (h *host) targetNamed(name string) (config.Target, error) {
	var known []string
	for _, t := range h.config.Targets {
		if t.Name == name {
			return t, nil
		}
		known = append(known, t.Name)
	}
	return config.Target{}, usagef("%q is no target of the configuration, which has: %s", name, strings.Join(slices.Sorted(slices.Values(known)), ", "))
}
