package drill

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/volsnap/volsnap/driver"
	"github.com/volsnap/volsnap/internal/testhost"
)

// stages is a storage with a stage, which is busy while one of its processes lives.
type stages struct {
	driver.Stager
	token string
	there bool
}

func (s *stages) Identity(context.Context, driver.Dataset) (string, error) {
	if !s.there {
		return "", driver.ErrNotFound
	}
	return "guid", nil
}

func (s *stages) Detach(context.Context, driver.Stage, string) error {
	if len(privates(privateName(s.token))) > 0 {
		return driver.ErrBusy
	}
	return nil
}

func (s *stages) Discard(context.Context, driver.Stage, *driver.Snapshot) error {
	s.there = false
	return nil
}

// engine counts removals, of which the one with that number fails.
type engine struct {
	Docker
	removals, fails int
}

var errEngine = errors.New("the engine does not answer")

func (e *engine) RemoveThrowaway(context.Context, string, string, string) error {
	if e.removals++; e.removals == e.fails {
		return errEngine
	}
	return nil
}

// killed is what a killed drill of an app left.
func killed(t *testing.T, d *Drill, app, from, token string) (path string) {
	t.Helper()
	d.StateDir, d.RunDir = t.TempDir(), t.TempDir()
	j := &journal{Version: journalVersion, App: app, From: from, Token: token, Container: "volsnap-drill-" + app + "-" + token}
	j.Stages = []staged{{Kind: "zfs", Name: "pool/stage", Dir: filepath.Join(d.RunDir, "mounts", "stage")}} // no path, and where its files are is not recorded
	if err := d.write(j); err != nil {
		t.Fatal(err)
	}
	return d.journalPath(app)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A server that a killed drill left is found wherever its clone lies, and whatever it has become.
func TestRecoverEndsServers(t *testing.T) {
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs)) // that is: of root
	const token = "0123456789ab"
	s := &onHost{db: database{dir: t.TempDir(), uid: os.Getuid(), gid: os.Getgid()}, private: privateName(token), programs: hostPrograms}
	argv := s.alone("sh", "-c", "echo ready; exec sleep 1000")
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	storage := &stages{token: token, there: true}
	d := &Drill{Docker: &engine{}, Open: func(string) (Source, error) {
		return Source{Stager: func(string) (driver.Stager, error) { return storage, nil }}, nil
	}}
	path := killed(t, d, "app", "", token)
	if err := d.RecoverAll(t.Context()); err != nil || storage.there || exists(path) {
		t.Errorf("%v; the stage is there: %t, the journal: %t", err, storage.there, exists(path))
	}
}

// A program in a root of its own ends with its parent, though its owner is another one.
func TestServerEndsWithItsParent(t *testing.T) {
	testhost.Require(t, testhost.PartBtrfs, testhost.Have(testhost.PartBtrfs)) // that is: of root
	const token = "ba9876543210"
	s := &onHost{db: database{dir: t.TempDir(), uid: 65534, gid: 65534}, private: privateName(token), programs: hostPrograms}
	parent := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `"$@" & wait`, "sh"}, s.alone("sh", "-c", "echo ready; exec sleep 1000")...)...)
	out, err := parent.StdoutPipe()
	if err == nil {
		err = parent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = parent.Wait() }()
	defer func() { _ = endPrivates(context.Background(), privateName(token)) }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second*testhost.Slow())
	defer cancel()
	again := time.NewTicker(readyPoll)
	defer again.Stop()
	for len(privates(privateName(token))) > 0 {
		select {
		case <-ctx.Done():
			t.Fatal("it outlives its parent")
		case <-again.C:
		}
	}
}

// The journal stays until the last look for the container, whose making the engine may only have begun.
func TestRecoverLooksBeforeItForgets(t *testing.T) {
	e := &engine{fails: 2}
	d := &Drill{Docker: e, Open: func(string) (Source, error) {
		return Source{Stager: func(string) (driver.Stager, error) { return &stages{}, nil }}, nil
	}}
	path := killed(t, d, "app", "", "0123456789ab")
	if err := d.RecoverAll(t.Context()); !errors.Is(err, errEngine) || !exists(path) {
		t.Errorf("%v; the journal is there: %t", err, exists(path))
	}
	if err := d.RecoverAll(t.Context()); err != nil || exists(path) || e.removals != 4 {
		t.Errorf("%v; the journal is there: %t; %d removals", err, exists(path), e.removals)
	}
}

// What lies at a target that is gone, or is on another storage by now, is removed by this host's driver.
func TestRecoverFromLostTarget(t *testing.T) {
	for name, target := range map[string]func() (Source, error){
		"gone": func() (Source, error) { return Source{}, errors.New("no such target") },
		"of other kinds": func() (Source, error) {
			return Source{Stager: func(string) (driver.Stager, error) { return nil, ErrCannot }}, nil
		},
	} {
		storage := &stages{there: true}
		d := &Drill{Docker: &engine{}, Open: func(from string) (Source, error) {
			if from != "" {
				return target()
			}
			return Source{Stager: func(string) (driver.Stager, error) { return storage, nil }}, nil
		}}
		path := killed(t, d, "app", "disk", "0123456789ab")
		if err := d.RecoverAll(t.Context()); err != nil || storage.there || exists(path) {
			t.Errorf("%s: %v; the stage is there: %t, the journal: %t", name, err, storage.there, exists(path))
		}
	}
}
