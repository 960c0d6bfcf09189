import CryptoKit
import Foundation
import HelperProtocol
import Security

/// Keys of the Secure Enclave by CryptoKit, which needs neither an entitlement nor a provisioning profile: the
/// key is no item of a keychain but an opaque blob that only this Secure Enclave can open.
public struct SecureEnclaveBackend: EnclaveBackend {
    public init() {}

    public var isAvailable: Bool { SecureEnclave.isAvailable }

    public var os: String {
        let version = ProcessInfo.processInfo.operatingSystemVersion
        return "macOS \(version.majorVersion).\(version.minorVersion).\(version.patchVersion)"
    }

    public var arch: String {
        #if arch(arm64)
        return "arm64"
        #else
        return "x86_64"
        #endif
    }

    public func generate() throws -> NewKey {
        let key = try SecureEnclave.P256.Signing.PrivateKey(accessControl: try accessControl())
        return NewKey(blob: key.dataRepresentation, publicKey: key.publicKey.x963Representation)
    }

    public func publicKey(of blob: Data) throws -> Data {
        try open(blob).publicKey.x963Representation
    }

    public func beginSigning(with blob: Data) throws -> Signing {
        EnclaveSigning(key: try open(blob))
    }

    private func open(_ blob: Data) throws -> SecureEnclave.P256.Signing.PrivateKey {
        try SecureEnclave.P256.Signing.PrivateKey(dataRepresentation: blob)
    }

    /// Usable from the first login after a start on, also while the screen is locked, and by no other Mac. No
    /// fingerprint and no password is asked for: a machine signs where nobody is.
    private func accessControl() throws -> SecAccessControl {
        var failure: Unmanaged<CFError>?
        let made = SecAccessControlCreateWithFlags(
            nil, kSecAttrAccessibleAfterFirstUnlockThisDeviceOnly, [.privateKeyUsage], &failure)
        if let made { return made }
        if let failure { throw failure.takeRetainedValue() }
        throw HelperError(.internalError, "no access control")
    }
}

/// CryptoKit signs digests that it has made itself, so the message comes here.
private final class EnclaveSigning: Signing {
    private let key: SecureEnclave.P256.Signing.PrivateKey
    private var hash = SHA256()

    init(key: SecureEnclave.P256.Signing.PrivateKey) {
        self.key = key
    }

    var publicKey: Data { key.publicKey.x963Representation }

    func update(_ data: Data) {
        hash.update(data: data)
    }

    func finish() throws -> Data {
        try key.signature(for: hash.finalize()).rawRepresentation
    }
}
