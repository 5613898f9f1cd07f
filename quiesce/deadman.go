package quiesce

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/volsnap/volsnap/internal/command"
)

const (
	readyLimit = 10 * time.Second       // for the dead-man to come up
	afterLimit = 250 * time.Millisecond // past the freeze limit, before the dead-man thaws what a hung process has not
	giveUp     = 2 * time.Minute        // how long the dead-man tries; the journal stays for Recover
	ready      = "ready"
)

// message goes down the pipe from the first process to the dead-man.
type message struct {
	Arm    time.Duration `json:"arm_ns,omitempty"`
	Disarm bool          `json:"disarm,omitempty"`
}

// DeadMan is the first process's end of the dead-man: a second process of the same binary that thaws what the journal
// names when the first dies (their pipe breaks) or when the limit has passed. It is a Guard.
//
// It is started before the freeze, has a connection to Docker by then, leads a session of its own, ignores the signals that
// end the first, and keeps the app's lock until it is done, so that the next run cannot meet it.
type DeadMan struct {
	journal Journal
	mu      sync.Mutex // of record: containers are paused in parallel
	record  Record
	control *os.File
	process *command.Process
}

// StartDeadMan runs argv, which has to call ServeDeadMan on its stdin and stdout, and waits until it is ready. lock is
// inherited by it.
func StartDeadMan(ctx context.Context, argv []string, j Journal, app string, lock *os.File) (*DeadMan, error) {
	in, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	said, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), control.Close())
	}
	p, err := command.Detached(command.Cmd{Argv: argv, Stdin: in, Stdout: out, Stderr: os.Stderr}, []*os.File{lock})
	err = errors.Join(err, in.Close(), out.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the dead-man: %w", err), control.Close(), said.Close())
	}
	d := &DeadMan{journal: j, record: Record{App: app}, control: control, process: p}
	if err := awaitReady(ctx, said); err != nil {
		return nil, errors.Join(fmt.Errorf("start the dead-man: %w", err), d.process.Kill(), d.Close())
	}
	return d, nil
}

func awaitReady(ctx context.Context, said *os.File) error {
	defer func() { _ = said.Close() }() // only read from
	stop := context.AfterFunc(ctx, func() { _ = said.SetReadDeadline(time.Now()) })
	defer stop()
	if err := said.SetReadDeadline(time.Now().Add(readyLimit)); err != nil {
		return err
	}
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	if strings.TrimSpace(line) != ready {
		return fmt.Errorf("it said %q", strings.TrimSpace(line))
	}
	return nil
}

// Arm writes the journal, then starts the dead-man's clock.
func (d *DeadMan) Arm(entries []Entry, limit time.Duration) error {
	d.record.Begun, d.record.Limit, d.record.Entries = time.Now().UTC(), limit, entries
	if err := d.journal.Write(d.record); err != nil {
		return err
	}
	return d.tell(message{Arm: limit})
}

// Leave strikes an entry from the journal.
func (d *DeadMan) Leave(e Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := make([]Entry, 0, len(d.record.Entries))
	for _, have := range d.record.Entries {
		if have.Kind != e.Kind || have.Container != e.Container {
			kept = append(kept, have)
		}
	}
	d.record.Entries = kept
	return d.journal.Write(d.record)
}

// Disarm removes the journal and stops the clock.
func (d *DeadMan) Disarm() error {
	if err := d.journal.Remove(); err != nil {
		return err
	}
	return d.tell(message{Disarm: true})
}

func (d *DeadMan) tell(m message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := d.control.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("tell the dead-man: %w", err)
	}
	return nil
}

// Close lets the dead-man end, and waits for that. If the journal is still there, it thaws first.
func (d *DeadMan) Close() error {
	return errors.Join(d.control.Close(), d.process.Wait())
}

// ServeDeadMan is the dead-man's own side. It returns when control ends: with nothing to do when there is no journal, and
// otherwise after it thawed what the journal names.
func ServeDeadMan(ctx context.Context, d Docker, j Journal, control io.Reader, say io.Writer) error {
	messages := make(chan message)
	go read(control, messages)
	if _, err := fmt.Fprintln(say, ready); err != nil {
		return fmt.Errorf("say %s: %w", ready, err)
	}
	var limit <-chan time.Time
	for {
		select {
		case m, ok := <-messages:
			switch {
			case !ok:
				return finish(ctx, d, j)
			case m.Disarm:
				limit = nil
			default:
				limit = time.After(m.Arm + afterLimit)
			}
		case <-limit:
			limit = nil
			thawPastLimit(ctx, d, j)
		}
	}
}

// read ends, and closes to, when control does; the process ends with it, so it cannot be left behind.
func read(control io.Reader, to chan<- message) {
	defer close(to)
	dec := json.NewDecoder(control)
	for {
		var m message
		if err := dec.Decode(&m); err != nil {
			return
		}
		to <- m
	}
}

// finish thaws for a process that is gone.
func finish(ctx context.Context, d Docker, j Journal) error {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	thawed, err := Recover(ctx, d, j)
	if len(thawed) > 0 {
		zerolog.Ctx(ctx).Warn().Strs("containers", thawed).Msg("the run died while containers were paused: thawed them")
	}
	return err
}

// thawPastLimit thaws for a process that hangs. The journal stays: the process removes it when it wakes, or dies and leaves
// it to finish.
func thawPastLimit(ctx context.Context, d Docker, j Journal) {
	ctx, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	rec, err := j.Read()
	if err == nil && rec != nil {
		defer lastResort(time.Now().Add(directAfter-afterLimit), func() []Entry { return rec.Entries })()
		_, err = thawAll(ctx, d, rec.Entries)
	}
	if err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Msg("thaw past the limit")
	}
}
