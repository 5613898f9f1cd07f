package main

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// Help is the same by every way to ask for it, and names nothing that does not work.
func TestHelp(t *testing.T) {
	top := invoke("", "help")
	for _, args := range [][]string{{"--help"}, {"-h"}} {
		if got := invoke("", args...); got != top || got.status != exitDone {
			t.Errorf("%q: %+v", args, got)
		}
	}
	walk((&program{}).app().Commands, nil, func(path []string, c *cli.Command) {
		name := strings.Join(path, " ")
		want := invoke("", append([]string{"help"}, path...)...)
		if want.status != exitDone || want.stderr != "" || !strings.Contains(want.stdout, "volsnap "+name) {
			t.Errorf("help %s: %+v", name, want)
		}
		ways := [][]string{
			append(path, "--help"), append(path, "-h"), append([]string{"--help"}, path...), append(path, "--log-level=debug", "-h"),
		}
		if len(c.Subcommands) == 0 {
			ways = append(ways, append(path, "some", "--help", "thing"))
		}
		for _, args := range ways {
			if got := invoke("", args...); got != want {
				t.Errorf("%q: %+v, want %+v", args, got, want)
			}
		}
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); !c.Hidden && (!ok || doc.GetUsage() == "") {
				t.Errorf("%s: --%s is not explained", name, f.Names()[0])
			}
		}
		if c.Hidden {
			return
		}
		if len(path) == 1 && !strings.Contains(top.stdout, "\n   "+name+" ") {
			t.Errorf("%s is not in the help", name)
		}
		if c.Usage == "" || c.Action == nil {
			t.Errorf("%s: usage %q", name, c.Usage)
		}
	})
	for _, args := range [][]string{{"help", "frobnicate"}, {"help", "list", "x"}, {"help", "--json"}, {"h"}, {"list", "help"}, {"retention", "help"}} {
		if got := invoke("", args...); got.status != exitUsage && got.status != exitDone || strings.Contains(got.stdout, "COMMANDS") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
