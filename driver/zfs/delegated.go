package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rs/zerolog"
)

// grant is one line of what somebody may do with a file system by zfs-allow(8), as was set on itself. It does not go with a name.
type grant struct {
	Scope string // a section of what `zfs allow` prints, see scopes
	Who   string // "user NAME", "group NAME", "everyone", "@SET"; "" for what is given at creation
	What  string // permissions, and sets of such, with commas between
}

// scopes are the sections, with the options of `zfs allow` and `zfs unallow` that mean them.
var scopes = map[string][]string{
	"Permission sets:":              {"-s"},
	"Create time permissions:":      {"-c"},
	"Local permissions:":            {"-l"},
	"Descendent permissions:":       {"-d"},
	"Local+Descendent permissions:": {"-l", "-d"},
}

// grantsIn reads what `zfs allow` prints (cmd/zfs/zfs_main.c, print_fs_perms), with the file system of each.
func grantsIn(out string, use func(at string, g grant)) {
	at, section := "", ""
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "---- Permissions on "); ok {
			at = strings.TrimRight(strings.TrimRight(rest, "-"), " ")
			continue
		}
		text, indented := strings.CutPrefix(line, "\t")
		if !indented {
			section = line
			continue
		}
		cut := strings.LastIndex(text, " ")
		use(at, grant{Scope: section, Who: text[:max(cut, 0)], What: text[cut+1:]})
	}
}

// grantsOf are those of a file system itself.
func grantsOf(ctx context.Context, name string) ([]grant, error) {
	out, err := run(ctx, "zfs", "allow", name)
	if err != nil {
		return nil, err
	}
	var own []grant
	grantsIn(out, func(at string, g grant) {
		if at == name {
			own = append(own, g)
		}
	})
	return own, nil
}

// command is the one that gives a file system what the grant says, or takes it away.
func (g grant) command(verb, name string) ([]string, error) {
	options, known := scopes[g.Scope]
	argv := append([]string{"zfs", verb}, options...)
	kind, who, _ := strings.Cut(g.Who, " ")
	// Somebody whom the host does not know any more, by number.
	if number, unknown := strings.CutPrefix(who, "(unknown: "); unknown {
		who = strings.TrimSuffix(number, ")")
	}
	switch {
	case !known || g.What == "" || strings.ContainsAny(who, ",\t\n") || strings.HasPrefix(who, "-"):
		return nil, fmt.Errorf("%+v: no command for it is known", g)
	case kind == "user" && who != "":
		argv = append(argv, "-u", who)
	case kind == "group" && who != "":
		argv = append(argv, "-g", who)
	case g.Who == "everyone":
		argv = append(argv, "-e")
	case g.Scope == "Permission sets:" && strings.HasPrefix(kind, "@") && who == "":
		argv = append(argv, kind)
	case g.Scope == "Create time permissions:" && g.Who == "":
	default:
		return nil, fmt.Errorf("%+v: nobody of that kind is known", g)
	}
	return append(argv, g.What, name), nil
}

// delegate lets what was delegated of a file system be what was of the one whose place it takes, which keeps it: it is not noted, since
// whoever may set user properties would have root give him what he likes. What cannot be done is said in a warning: it is no reason to
// keep what was restored from its app.
func delegate(ctx context.Context, to, from string) {
	want, err := grantsOf(ctx, from)
	var have []grant
	if err == nil {
		have, err = grantsOf(ctx, to)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Str("dataset", to).Str("as", from).Err(err).Msg("what was delegated of it has to be delegated anew: see zfs allow")
		return
	}
	change := func(verb string, these, but []grant) {
		for _, g := range these {
			if slices.Contains(but, g) {
				continue
			}
			argv, err := g.command(verb, to)
			if err == nil {
				_, err = run(ctx, argv...)
			}
			if err != nil {
				zerolog.Ctx(ctx).Warn().Str("dataset", to).Str("as", from).Err(err).Msg("zfs " + verb + ": what was delegated of it is not as it was")
			}
		}
	}
	change("unallow", have, want)
	change("allow", want, have)
}
