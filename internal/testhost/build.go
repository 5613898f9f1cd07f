package testhost

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
)

// The programs of this module that tests start.
const (
	ProgramVolsnap = "github.com/volsnap/volsnap/cmd/volsnap"
	ProgramLoad    = "github.com/volsnap/volsnap/internal/fixture/load"

	// TagFault is the build tag of a volsnap with fault points, see package fault.
	TagFault = "faultpoints"
)

// Build puts a program at the path "to", linked statically. Where the machine has no Go, a file that is named in the
// environment is copied: VOLSNAP_TEST_BINARY is volsnap, VOLSNAP_TEST_BINARY_FAULT is volsnap with fault points, and
// VOLSNAP_TEST_LOAD is the fixture's load. What they do not name is compiled.
func Build(ctx context.Context, to, program string, tags ...string) error {
	if from := os.Getenv(builtVariable(program, tags)); from != "" {
		return copyProgram(from, to)
	}
	args := []string{"build", "-o", to}
	for _, tag := range tags {
		args = append(args, "-tags", tag)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, program)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", program, err, out)
	}
	return nil
}

// builtVariable names a variable in any case; one without a name of its own is never set.
func builtVariable(program string, tags []string) string {
	switch {
	case program == ProgramVolsnap && len(tags) == 0:
		return "VOLSNAP_TEST_BINARY"
	case program == ProgramVolsnap && slices.Equal(tags, []string{TagFault}):
		return "VOLSNAP_TEST_BINARY_FAULT"
	case program == ProgramLoad && len(tags) == 0:
		return "VOLSNAP_TEST_LOAD"
	}
	return ""
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}
