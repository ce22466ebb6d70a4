/* Preloaded into a server that always binds to every address: binds it to loopback instead. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    struct sockaddr_storage local;

    if (length > sizeof local)
        return (int)syscall(SYS_bind, fd, address, length);
    memcpy(&local, address, length);
    if (local.ss_family == AF_INET)
        ((struct sockaddr_in *)&local)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (local.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&local)->sin6_addr = in6addr_loopback;
    return (int)syscall(SYS_bind, fd, &local, length);
}
