/*
 * A C program that uses the module as clients do: nothing but nodetoken.h and the C library.
 *
 *   smoke LIBRARY     loads LIBRARY (dlopen) and calls through its table
 *   -DLINKED          calls the exported functions of the library that it is linked with
 *
 * It makes a token in the store of NODETOKEN_STORE, signs and verifies, and prints "ok".
 */
#include <nodetoken.h>

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __LP64__
_Static_assert(sizeof(CK_ULONG) == 8, "CK_ULONG");
_Static_assert(sizeof(CK_VERSION) == 2, "CK_VERSION");
_Static_assert(sizeof(CK_INFO) == 88, "CK_INFO");
_Static_assert(sizeof(CK_SLOT_INFO) == 112, "CK_SLOT_INFO");
_Static_assert(sizeof(CK_TOKEN_INFO) == 208, "CK_TOKEN_INFO");
_Static_assert(sizeof(CK_SESSION_INFO) == 32, "CK_SESSION_INFO");
_Static_assert(sizeof(CK_ATTRIBUTE) == 24, "CK_ATTRIBUTE");
_Static_assert(sizeof(CK_MECHANISM) == 24, "CK_MECHANISM");
_Static_assert(sizeof(CK_MECHANISM_INFO) == 24, "CK_MECHANISM_INFO");
_Static_assert(sizeof(CK_INTERFACE) == 24, "CK_INTERFACE");
_Static_assert(sizeof(CK_C_INITIALIZE_ARGS) == 48, "CK_C_INITIALIZE_ARGS");
_Static_assert(sizeof(CK_RSA_PKCS_PSS_PARAMS) == 24, "CK_RSA_PKCS_PSS_PARAMS");
_Static_assert(sizeof(CK_GCM_PARAMS) == 48, "CK_GCM_PARAMS");
_Static_assert(sizeof(CK_FUNCTION_LIST) == 552, "a version and 68 functions");
_Static_assert(sizeof(CK_FUNCTION_LIST_3_0) == 744, "a version and 92 functions");
_Static_assert(sizeof(CK_FUNCTION_LIST_3_2) == 840, "a version and 104 functions");
_Static_assert(offsetof(CK_FUNCTION_LIST, C_Initialize) == 8, "the first function");
#endif
_Static_assert(offsetof(CK_FUNCTION_LIST, C_WaitForSlotEvent) ==
               offsetof(CK_FUNCTION_LIST_3_2, C_WaitForSlotEvent), "a table begins as the older");

static void check(CK_RV rv, const char *call)
{
	if (rv != CKR_OK) {
		fprintf(stderr, "%s: 0x%lx\n", call, rv);
		exit(1);
	}
}

static void demand(int true_, const char *what)
{
	if (!true_) {
		fprintf(stderr, "not so: %s\n", what);
		exit(1);
	}
}

#define DEMAND(condition) demand((condition), #condition)

#ifdef LINKED
#define CALL(function, ...) check(function(__VA_ARGS__), #function)
#else
static CK_FUNCTION_LIST_3_2 *table;
#define CALL(function, ...) check(table->function(__VA_ARGS__), #function)

static void load(const char *path)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	CK_C_GetInterface get_interface;
	CK_INTERFACE *interface;
	CK_VERSION version = { 3, 2 };

	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	/* ISO C has no conversion from an object pointer to a function pointer; POSIX has. */
	*(void **)&get_interface = dlsym(library, "C_GetInterface");
	DEMAND(get_interface != NULL);
	check(get_interface((CK_UTF8CHAR *)"PKCS 11", &version, &interface, 0), "C_GetInterface");
	table = interface->pFunctionList;
	DEMAND(table->version.major == 3 && table->version.minor == 2);
}
#endif

static CK_BBOOL yes = CK_TRUE;

/* Makes a key pair, signs with it, verifies, and has a false signature refused. */
static void use_key_pair(CK_SESSION_HANDLE session, CK_MECHANISM_TYPE generation, CK_ATTRIBUTE kind,
			 CK_MECHANISM_TYPE signing, CK_ULONG length)
{
	CK_MECHANISM generate = { generation, NULL, 0 };
	CK_MECHANISM sign = { signing, NULL, 0 };
	CK_ATTRIBUTE public[] = { kind, { CKA_VERIFY, &yes, sizeof yes } };
	CK_ATTRIBUTE private[] = { { CKA_TOKEN, &yes, sizeof yes }, { CKA_SIGN, &yes, sizeof yes } };
	CK_OBJECT_HANDLE public_key, private_key;
	CK_BYTE message[] = "what is signed";
	CK_BYTE signature[512];
	CK_ULONG signature_length = 0;

	CALL(C_GenerateKeyPair, session, &generate, public, 2, private, 2, &public_key, &private_key);
	CALL(C_SignInit, session, &sign, private_key);
	CALL(C_Sign, session, message, sizeof message, NULL, &signature_length);
	DEMAND(signature_length == length);
	CALL(C_Sign, session, message, sizeof message, signature, &signature_length);
	DEMAND(signature_length == length);
	CALL(C_VerifyInit, session, &sign, public_key);
	CALL(C_Verify, session, message, sizeof message, signature, signature_length);

	signature[length / 2] ^= 1;
	CALL(C_VerifyInit, session, &sign, public_key);
#ifdef LINKED
	DEMAND(C_Verify(session, message, sizeof message, signature, length) == CKR_SIGNATURE_INVALID);
#else
	DEMAND(table->C_Verify(session, message, sizeof message, signature, length) ==
	       CKR_SIGNATURE_INVALID);
#endif
}

/* How many private keys the session sees. */
static CK_ULONG count_private_keys(CK_SESSION_HANDLE session)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE wanted = { CKA_CLASS, &class, sizeof class };
	CK_OBJECT_HANDLE found[8];
	CK_ULONG count = 0;

	CALL(C_FindObjectsInit, session, &wanted, 1);
	CALL(C_FindObjects, session, found, 8, &count);
	CALL(C_FindObjectsFinal, session);
	return count;
}

int main(int argc, char **argv)
{
	CK_UTF8CHAR pin[] = "31415926", label[32];
	CK_UTF8CHAR so_pin[] = "12345678:010203040506070801020304050607080102030405060708";
	CK_ULONG so_pin_length = sizeof so_pin - 1, pin_length = sizeof pin - 1;
	CK_BYTE p256[] = { 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
	CK_ATTRIBUTE curve = { CKA_EC_PARAMS, p256, sizeof p256 };
	CK_ULONG bits = 2048;
	CK_ATTRIBUTE modulus = { CKA_MODULUS_BITS, &bits, sizeof bits };
	CK_SLOT_ID all[4], slot;
	CK_ULONG slots = 4;
	CK_SESSION_HANDLE session;
	CK_INFO info;

	DEMAND(argc == 2);
#ifdef LINKED
	(void)argv;
#else
	load(argv[1]);
#endif
	CALL(C_Initialize, NULL);
	CALL(C_GetInfo, &info);
	DEMAND(info.cryptokiVersion.major == CRYPTOKI_VERSION_MAJOR);
	DEMAND(info.cryptokiVersion.minor == CRYPTOKI_VERSION_MINOR);

	/* A reader comes after what is built in. */
	CALL(C_GetSlotList, CK_TRUE, all, &slots);
	DEMAND(slots > 0);
	slot = all[slots - 1];
	memset(label, ' ', sizeof label);
	memcpy(label, "smoke", 5);
	CALL(C_InitToken, slot, so_pin, so_pin_length, label);
	CALL(C_OpenSession, slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
	CALL(C_Login, session, CKU_SO, so_pin, so_pin_length);
	CALL(C_InitPIN, session, pin, pin_length);
	CALL(C_Logout, session);

	CALL(C_Login, session, CKU_USER, pin, pin_length);
	DEMAND(count_private_keys(session) == 0);
	use_key_pair(session, CKM_EC_KEY_PAIR_GEN, curve, CKM_ECDSA_SHA256, 64);
	use_key_pair(session, CKM_RSA_PKCS_KEY_PAIR_GEN, modulus, CKM_SHA256_RSA_PKCS, 256);
	DEMAND(count_private_keys(session) == 2);
	CALL(C_Logout, session);
	DEMAND(count_private_keys(session) == 0);

	CALL(C_CloseSession, session);
	CALL(C_Finalize, NULL);
	puts("ok");
	return 0;
}
