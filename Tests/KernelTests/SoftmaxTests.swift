import CSystem
import Glibc
import Testing

struct SoftmaxTests {
    @Test("softmax and log-softmax of every count, rows apart, in place too", arguments: Level.all)
    func counts(level: Level) {
        for count in 1...70 {
            let rows = 1 + count % 4, stride = count + count % 3
            var numbers = Numbers(count)
            let x = numbers.next(rows * count, scale: 30)
            for isLog in [false, true] {
                let run = isLog ? level.kernels.log_softmax : level.kernels.softmax
                let from = Guarded(spread(x, rows: rows, stride: stride), offset: 1)
                let to = Guarded(filled: (rows - 1) * stride + count, offset: 2)
                run?(from.pointer, stride, to.pointer, stride, rows, count)
                run?(from.pointer, stride, from.pointer, stride, rows, count)
                var isRight = true, isSame = true
                for row in 0..<rows {
                    let values = x[(row * count)..<((row + 1) * count)].map { Double($0) }
                    let top = values.max() ?? 0
                    let sum = values.reduce(0) { $0 + exp($1 - top) }
                    for (i, value) in values.enumerated() {
                        let wanted = isLog ? value - top - log(sum) : exp(value - top) / sum
                        let got = to.pointer[row * stride + i]
                        let tolerance = 1e-6 * (isLog ? 1 + 0.1 * (top - value) : wanted)
                        isRight = isRight && abs(Double(got) - wanted) <= tolerance
                        isSame = isSame && sameBits(got, from.pointer[row * stride + i])
                    }
                    if row + 1 < rows {
                        for i in count..<stride { isRight = isRight && to.isUntouched(row * stride + i) }
                    }
                }
                #expect(isRight && to.isIntact && from.isIntact, "count \(count), log \(isLog)")
                #expect(isSame, "in place, count \(count), log \(isLog)")
            }
        }
    }

    @Test("softmax: at most 2 floats from the correctly rounded one, in short rows and long ones, near one another and far apart",
          arguments: Level.all)
    func accuracy(level: Level) {
        func place(_ x: Float) -> Int { Int(x.bitPattern) }
        var numbers = Numbers(5), worst = 0
        for round in 0..<4000 {
            let count = round % 50 == 0 ? 100 + round / 2 : 1 + round % 80
            let x = numbers.next(count, scale: [0.1, 1, 5, 20, 80][round % 5]), top = Double(x.max() ?? 0)
            var y = x
            level.kernels.softmax(x, count, &y, count, 1, count)
            let sum = x.reduce(0) { $0 + exp(Double($1) - top) }
            for (x, y) in zip(x, y) {
                let wanted = Float(exp(Double(x) - top) / sum)
                if wanted >= .leastNormalMagnitude { worst = max(worst, abs(place(wanted) - place(y))) }
            }
        }
        #expect(worst <= 2)
    }

    @Test("a row that is not a number, or all minus infinity, gives NaN; one infinite logit is handled as Keras does", arguments: Level.all)
    func specials(level: Level) {
        for x in [[1, .nan, 2], [-.infinity, -.infinity, -.infinity]] as [[Float]] {
            var y = x
            level.kernels.softmax(x, 3, &y, 3, 1, 3)
            #expect(y.allSatisfy { $0.isNaN })
        }
        var y: [Float] = [0, 0, 0]
        level.kernels.softmax([0, -.infinity, 0], 3, &y, 3, 1, 3)
        #expect(y == [0.5, 0, 0.5])
    }
}
