// What Java does through its provider SunPKCS11, each service that it lists for the token beside Java's own providers.
// java SunPkcs11.java CONFIG PIN last|first: a line for each case: name, passed or failed or skipped, words; by tabs.
// "first" puts the token before Java's own providers, so that TLS takes all that it can from the token.
// The keystore has the entries rsa, p256 and p384, made by keytool.

import java.net.InetAddress;
import java.security.*;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.security.spec.*;
import java.util.*;
import java.util.concurrent.*;
import javax.crypto.*;
import javax.crypto.spec.*;
import javax.net.ssl.*;

public class SunPkcs11 {
    static final byte[] MESSAGE = "A message of more than one block, for everything that takes one.".getBytes();
    static Provider token;
    static KeyStore store;
    static char[] pin;

    interface Case { void run() throws Exception; }

    static class Skip extends RuntimeException {
        Skip(String why) { super(why); }
    }

    static void test(String name, Case body) {
        String status = "passed", words = "";
        try {
            body.run();
        } catch (Skip skip) {
            status = "skipped";
            words = skip.getMessage();
        } catch (Throwable error) {
            status = "failed";
            words = String.valueOf(error);
            for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) words += "; " + cause;
            if (System.getenv("TRACE") != null) error.printStackTrace();
        }
        System.out.println(name + "\t" + status + "\t" + words.replaceAll("\\s+", " "));
    }

    static void equal(byte[] one, byte[] other) {
        if (!Arrays.equals(one, other)) throw new AssertionError("the token's result is not Java's own");
    }

    static void require(boolean truth, String what) {
        if (!truth) throw new AssertionError(what);
    }

    // The first of Java's own providers that has the service.
    static Provider own(String type, String algorithm) {
        for (Provider provider : Security.getProviders()) {
            if (provider == token) continue;
            if (provider.getService(type, algorithm) != null) return provider;
            try {
                // A transformation need not be listed to be there.
                if (type.equals("Cipher")) return Cipher.getInstance(algorithm, provider).getProvider();
            } catch (GeneralSecurityException absent) {
                continue;
            }
        }
        throw new Skip("Java's own providers do not have it to compare");
    }

    public static void main(String[] args) throws Exception {
        token = Security.getProvider("SunPKCS11").configure(args[0]);
        pin = args[1].toCharArray();
        if (args[2].equals("first")) Security.insertProviderAt(token, 1);
        else Security.addProvider(token);
        store = KeyStore.getInstance("PKCS11", token);
        store.load(null, pin);
        if (args[2].equals("first")) {
            handshakes("the token first: ");
            return;
        }
        for (Provider.Service service : new TreeMap<>(services()).values()) {
            String type = service.getType(), name = service.getAlgorithm();
            test(type + " " + name, () -> service(type, name));
        }
        test("keystore: a key entry is written, read and deleted", SunPkcs11::keyEntry);
        test("keystore: a trusted certificate needs CKA_TRUSTED", SunPkcs11::trusted);
        handshakes("");
    }

    static Map<String, Provider.Service> services() {
        Map<String, Provider.Service> found = new HashMap<>();
        for (Provider.Service service : token.getServices()) found.put(service.getType() + " " + service.getAlgorithm(), service);
        return found;
    }

    static void service(String type, String name) throws Exception {
        switch (type) {
            case "Signature": signature(name); break;
            case "MessageDigest": digest(name); break;
            case "Mac": mac(name); break;
            case "Cipher": cipher(name); break;
            case "KeyGenerator": generator(name); break;
            case "KeyPairGenerator": pair(name); break;
            case "KeyAgreement": agreement(name); break;
            case "KeyFactory": factory(name); break;
            case "SecretKeyFactory": secretFactory(name); break;
            case "SecureRandom": random(name); break;
            case "KeyStore": require(store.isKeyEntry("rsa") && store.isKeyEntry("p256"), "no entries"); break;
            case "AlgorithmParameters": AlgorithmParameters.getInstance(name, token); break;
            default: throw new AssertionError("nothing here tests this type of service");
        }
    }

    // ---- public keys ----------------------------------------------------------------------------------------------

    static void signature(String name) throws Exception {
        String upper = name.toUpperCase();
        List<String> aliases = upper.contains("ECDSA") ? List.of("p256", "p384") : List.of("rsa");
        if (upper.contains("DSA") && !upper.contains("ECDSA")) throw new Skip("no DSA keys are made here");
        for (String alias : aliases) {
            PrivateKey key = (PrivateKey) store.getKey(alias, null);
            PublicKey known = store.getCertificate(alias).getPublicKey();
            // "NONEwith…" signs what is a digest already.
            byte[] message = upper.startsWith("NONE") ? MessageDigest.getInstance("SHA-256").digest(MESSAGE) : MESSAGE;
            Signature sign = Signature.getInstance(name, token);
            String plain = upper.contains("PSS") ? "RSASSA-PSS" : name;
            Signature verify = Signature.getInstance(plain, own("Signature", plain));
            Signature back = Signature.getInstance(name, token);
            if (upper.contains("PSS")) {
                String hash = upper.startsWith("RSASSA") ? "SHA-256" : upper.substring(0, upper.indexOf("WITH"));
                if (!hash.contains("-")) hash = hash.replaceFirst("SHA", "SHA-");
                PSSParameterSpec spec = new PSSParameterSpec(hash, "MGF1", new MGF1ParameterSpec(hash), 20, 1);
                sign.setParameter(spec);
                back.setParameter(spec);
                verify.setParameter(spec);
            }
            sign.initSign(key);
            for (byte octet : message) sign.update(octet);
            byte[] made = sign.sign();
            verify.initVerify(known);
            verify.update(message);
            require(verify.verify(made), alias + ": Java's own provider refuses the token's signature");
            back.initVerify(known);
            back.update(message);
            require(back.verify(made), alias + ": the token refuses its own signature");
            back.initVerify(known);
            back.update(message, 1, message.length - 1);
            boolean wrong;
            try {
                wrong = back.verify(made);
            } catch (SignatureException refused) {
                wrong = false;
            }
            require(!wrong, alias + ": the token takes the signature of something else");
        }
    }

    static void pair(String name) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance(name, token);
        if (name.equals("EC")) {
            for (String curve : List.of("secp256r1", "secp384r1", "secp521r1")) {
                generator.initialize(new ECGenParameterSpec(curve));
                proves(generator.generateKeyPair(), "SHA256withECDSA");
            }
        } else if (name.equals("RSA")) {
            for (int bits : new int[] {2048, 3072}) {
                generator.initialize(bits);
                proves(generator.generateKeyPair(), "SHA256withRSA");
            }
        } else throw new AssertionError("nothing here tests this algorithm");
    }

    static void proves(KeyPair pair, String algorithm) throws Exception {
        Signature sign = Signature.getInstance(algorithm, token);
        sign.initSign(pair.getPrivate());
        sign.update(MESSAGE);
        byte[] made = sign.sign();
        Signature verify = Signature.getInstance(algorithm, own("Signature", algorithm));
        verify.initVerify((PublicKey) KeyFactory.getInstance(pair.getPublic().getAlgorithm(), own("KeyFactory", pair.getPublic().getAlgorithm()))
            .translateKey(pair.getPublic()));
        verify.update(MESSAGE);
        require(verify.verify(made), "the private key is not the public key's");
    }

    static void factory(String name) throws Exception {
        KeyFactory factory = KeyFactory.getInstance(name, token);
        KeyPairGenerator generator = KeyPairGenerator.getInstance(name, own("KeyPairGenerator", name));
        generator.initialize(name.equals("EC") ? 256 : 2048);
        KeyPair pair = generator.generateKeyPair();
        PublicKey known = (PublicKey) factory.translateKey(pair.getPublic());
        equal(known.getEncoded(), pair.getPublic().getEncoded());
        PrivateKey brought = (PrivateKey) factory.translateKey(pair.getPrivate());
        proves(new KeyPair(pair.getPublic(), brought), name.equals("EC") ? "SHA256withECDSA" : "SHA256withRSA");
    }

    static void agreement(String name) throws Exception {
        if (!name.equals("ECDH")) throw new AssertionError("nothing here tests this algorithm");
        for (String curve : List.of("secp256r1", "secp384r1", "secp521r1")) {
            KeyPairGenerator mine = KeyPairGenerator.getInstance("EC", token);
            KeyPairGenerator theirs = KeyPairGenerator.getInstance("EC", own("KeyPairGenerator", "EC"));
            mine.initialize(new ECGenParameterSpec(curve));
            theirs.initialize(new ECGenParameterSpec(curve));
            KeyPair here = mine.generateKeyPair(), there = theirs.generateKeyPair();
            KeyAgreement one = KeyAgreement.getInstance(name, token), other = KeyAgreement.getInstance(name, own("KeyAgreement", name));
            one.init(here.getPrivate());
            one.doPhase(there.getPublic(), true);
            other.init(there.getPrivate());
            other.doPhase(here.getPublic(), true);
            equal(one.generateSecret(), other.generateSecret());
        }
    }

    // ---- digests, MACs, ciphers, random -----------------------------------------------------------------------------

    static void digest(String name) throws Exception {
        MessageDigest mine = MessageDigest.getInstance(name, token), theirs = MessageDigest.getInstance(name, own("MessageDigest", name));
        equal(mine.digest(MESSAGE), theirs.digest(MESSAGE));
        mine.update(MESSAGE);
        theirs.update(MESSAGE);
        // By C_GetOperationState and C_SetOperationState.
        MessageDigest copy = (MessageDigest) mine.clone();
        mine.update((byte) 1);
        equal(copy.digest(), theirs.digest());
        theirs.update(MESSAGE);
        theirs.update((byte) 1);
        equal(mine.digest(), theirs.digest());
    }

    static void mac(String name) throws Exception {
        byte[] key = new byte[32];
        Arrays.fill(key, (byte) 7);
        Mac mine = Mac.getInstance(name, token), theirs = Mac.getInstance(name, own("Mac", name));
        mine.init(new SecretKeySpec(key, name));
        theirs.init(new SecretKeySpec(key, name));
        for (byte octet : MESSAGE) mine.update(octet);
        equal(mine.doFinal(), theirs.doFinal(MESSAGE));
        equal(mine.doFinal(MESSAGE), theirs.doFinal(MESSAGE));
    }

    static void cipher(String name) throws Exception {
        Cipher mine = Cipher.getInstance(name, token), theirs = Cipher.getInstance(name, own("Cipher", name));
        if (name.startsWith("RSA")) {
            PublicKey known = store.getCertificate("rsa").getPublicKey();
            PrivateKey key = (PrivateKey) store.getKey("rsa", null);
            byte[] block = new byte[256];
            System.arraycopy(MESSAGE, 0, block, 10, 32);
            byte[] text = name.toUpperCase().contains("NOPADDING") ? block : MESSAGE;
            theirs.init(Cipher.ENCRYPT_MODE, known);
            mine.init(Cipher.DECRYPT_MODE, key);
            equal(mine.doFinal(theirs.doFinal(text)), text);
            mine.init(Cipher.ENCRYPT_MODE, known);
            byte[] sealed = mine.doFinal(text);
            mine.init(Cipher.DECRYPT_MODE, key);
            equal(mine.doFinal(sealed), text);
            return;
        }
        String algorithm = name.replaceAll("[_/].*", "");
        int size = name.contains("_192") ? 24 : name.contains("_256") || name.startsWith("ChaCha20") ? 32 : 16;
        if (algorithm.equals("DESede")) size = 24;
        byte[] bytes = new byte[size];
        for (int at = 0; at < size; at++) bytes[at] = (byte) (at * 3 + 1);
        SecretKeySpec key = new SecretKeySpec(bytes, algorithm);
        AlgorithmParameterSpec parameters = null;
        if (name.contains("GCM")) parameters = new GCMParameterSpec(128, Arrays.copyOf(MESSAGE, 12));
        else if (name.startsWith("ChaCha20")) parameters = new IvParameterSpec(Arrays.copyOf(MESSAGE, 12));
        else if (!name.contains("ECB") && name.contains("/")) parameters = new IvParameterSpec(Arrays.copyOf(MESSAGE, algorithm.equals("DESede") ? 8 : 16));
        boolean tagged = name.contains("GCM") || name.startsWith("ChaCha20");
        byte[][] sealed = new byte[2][];
        Cipher[] both = {mine, theirs};
        for (int at = 0; at < 2; at++) {
            both[at].init(Cipher.ENCRYPT_MODE, key, parameters);
            if (tagged) both[at].updateAAD(MESSAGE);
            // Java 17's SunPKCS11 loses the rest of a message in two parts when it is tagged, whatever the module.
            int part = tagged ? 0 : 17;
            byte[] head = both[at].update(MESSAGE, 0, part);
            byte[] tail = both[at].doFinal(MESSAGE, part, MESSAGE.length - part);
            sealed[at] = head == null ? tail : join(head, tail);
        }
        equal(sealed[0], sealed[1]);
        mine.init(Cipher.DECRYPT_MODE, key, parameters);
        if (tagged) mine.updateAAD(MESSAGE);
        equal(mine.doFinal(sealed[1]), MESSAGE);
    }

    static byte[] join(byte[] one, byte[] other) {
        byte[] both = Arrays.copyOf(one, one.length + other.length);
        System.arraycopy(other, 0, both, one.length, other.length);
        return both;
    }

    static void generator(String name) throws Exception {
        if (name.startsWith("SunTls")) throw new Skip("only TLS uses it: the handshakes with the token first");
        SecretKey key = KeyGenerator.getInstance(name, token).generateKey();
        require(key != null && key.getAlgorithm() != null, "no key");
    }

    static void secretFactory(String name) throws Exception {
        SecretKeyFactory factory = SecretKeyFactory.getInstance(name, token);
        int size = name.equals("DESede") ? 24 : name.equals("DES") ? 8 : 32;
        if (name.startsWith("PBE") || name.startsWith("PBKDF2")) throw new AssertionError("nothing here tests this algorithm");
        byte[] bytes = new byte[size];
        for (int at = 0; at < size; at++) bytes[at] = (byte) (at + 1);
        SecretKey key = factory.translateKey(new SecretKeySpec(bytes, name));
        require(key.getAlgorithm().equals(name) || name.startsWith("Generic"), "another algorithm");
        if (key.getEncoded() != null) equal(key.getEncoded(), bytes);
    }

    static void random(String name) throws Exception {
        byte[] one = new byte[32], other = new byte[32];
        SecureRandom random = SecureRandom.getInstance(name, token);
        random.setSeed(MESSAGE);
        random.nextBytes(one);
        random.nextBytes(other);
        require(!Arrays.equals(one, other), "twice the same");
    }

    // ---- keystore and TLS ---------------------------------------------------------------------------------------

    static void keyEntry() throws Exception {
        SecretKey made = KeyGenerator.getInstance("AES", token).generateKey();
        store.setKeyEntry("secret", made, null, null);
        KeyStore again = KeyStore.getInstance("PKCS11", token);
        again.load(null, pin);
        require(again.isKeyEntry("secret"), "the entry is not there");
        Cipher one = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        one.init(Cipher.ENCRYPT_MODE, again.getKey("secret", null), new IvParameterSpec(new byte[16]));
        Cipher other = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        other.init(Cipher.DECRYPT_MODE, store.getKey("secret", null), new IvParameterSpec(new byte[16]));
        equal(other.doFinal(one.doFinal(MESSAGE)), MESSAGE);
        again.deleteEntry("secret");
        require(!again.containsAlias("secret"), "the entry is still there");
    }

    static void trusted() throws Exception {
        try {
            store.setCertificateEntry("authority", store.getCertificate("rsa"));
        } catch (KeyStoreException refused) {
            return;
        }
        throw new AssertionError("a user made a certificate trusted");
    }

    static void handshakes(String prefix) {
        for (String version : List.of("TLSv1.2", "TLSv1.3"))
            for (String keys : List.of("rsa rsa", "p256 p256", "p384 p384", "rsa p256", "p256 rsa"))
                test(prefix + "mutual " + version + ", client " + keys.replace(" ", ", server "),
                    () -> handshake(version, keys.split(" ")[0], keys.split(" ")[1]));
    }

    // One entry alone is offered, so that no other key is taken; each end trusts the other's certificate alone.
    static SSLContext context(String version, String alias, String peer) throws Exception {
        X509Certificate[] chain = Arrays.copyOf(store.getCertificateChain(alias), store.getCertificateChain(alias).length, X509Certificate[].class);
        PrivateKey key = (PrivateKey) store.getKey(alias, null);
        KeyManager manager = new X509ExtendedKeyManager() {
            public String[] getClientAliases(String type, Principal[] issuers) { return new String[] {alias}; }
            public String[] getServerAliases(String type, Principal[] issuers) { return new String[] {alias}; }
            public String chooseClientAlias(String[] types, Principal[] issuers, java.net.Socket socket) {
                return Arrays.asList(types).contains(key.getAlgorithm()) ? alias : null;
            }
            public String chooseServerAlias(String type, Principal[] issuers, java.net.Socket socket) {
                return type.contains(key.getAlgorithm()) ? alias : null;
            }
            public X509Certificate[] getCertificateChain(String name) { return chain; }
            public PrivateKey getPrivateKey(String name) { return key; }
        };
        KeyStore anchors = KeyStore.getInstance("PKCS12");
        anchors.load(null, null);
        anchors.setCertificateEntry("peer", store.getCertificate(peer));
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(anchors);
        SSLContext context = SSLContext.getInstance(version);
        context.init(new KeyManager[] {manager}, trust.getTrustManagers(), null);
        return context;
    }

    static void handshake(String version, String client, String server) throws Exception {
        ExecutorService pool = Executors.newSingleThreadExecutor();
        try (SSLServerSocket listener = (SSLServerSocket) context(version, server, client).getServerSocketFactory()
                .createServerSocket(0, 1, InetAddress.getByName("127.0.0.1"))) {
            listener.setNeedClientAuth(true);
            listener.setSoTimeout(20000);
            Future<Certificate> seen = pool.submit(() -> {
                try (SSLSocket socket = (SSLSocket) listener.accept()) {
                    socket.setSoTimeout(20000);
                    byte[] line = socket.getInputStream().readNBytes(MESSAGE.length);
                    socket.getOutputStream().write(line);
                    socket.getOutputStream().flush();
                    return socket.getSession().getPeerCertificates()[0];
                }
            });
            try (SSLSocket socket = (SSLSocket) context(version, client, server).getSocketFactory()
                    .createSocket("127.0.0.1", listener.getLocalPort())) {
                socket.setSoTimeout(20000);
                socket.setEnabledProtocols(new String[] {version});
                socket.getOutputStream().write(MESSAGE);
                socket.getOutputStream().flush();
                equal(socket.getInputStream().readNBytes(MESSAGE.length), MESSAGE);
                require(socket.getSession().getProtocol().equals(version), "another version");
                require(socket.getSession().getPeerCertificates()[0].equals(store.getCertificate(server)), "another server");
            }
            require(seen.get(20, TimeUnit.SECONDS).equals(store.getCertificate(client)), "another client");
        } finally {
            pool.shutdownNow();
        }
    }
}
