//go:build unix

package engine

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
)

// permissionHints says how to get access to a socket that exists: it depends on
// whose it is and on the groups of the user and of this very session.
func permissionHints(socket string) []string {
	info, err := os.Stat(socket)
	if err != nil {
		return []string{"the directory of the socket belongs to another user: run as that user, or with sudo"}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Perm()&0o020 == 0 {
		return []string{"the socket belongs to another user: run as that user, or with sudo"}
	}
	group, err := user.LookupGroupId(strconv.Itoa(int(stat.Gid)))
	if err != nil || group.Name == "root" {
		return []string{"the socket is root's: run with sudo"}
	}
	me, err := user.Current()
	if err != nil {
		return []string{fmt.Sprintf("this user has to be in the group %s: run with sudo", group.Name)}
	}
	if ids, err := me.GroupIds(); err == nil && slices.Contains(ids, group.Gid) {
		return []string{fmt.Sprintf("%s is in the group %s, but this session is older than that: log out and in again, or type: newgrp %s",
			me.Username, group.Name, group.Name)}
	}
	return []string{fmt.Sprintf("%s is not in the group %s: sudo usermod -aG %s %s, then log out and in again\n(members of that group can do all that root can)",
		me.Username, group.Name, group.Name, me.Username)}
}
